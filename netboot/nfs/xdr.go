package nfs

import (
	"encoding/binary"
	"slices"
)

// decoder takes values in the external data representation (RFC 4506) from b.
// After something that is not there, or is longer than it may be, bad is set and
// all values are zero.
type decoder struct {
	b   []byte
	bad bool
}

// take returns the next n bytes; nil when there are not as many.
func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// opaque returns bytes of variable length, at most limit, which stay those of the
// record. A string is the same.
func (d *decoder) opaque(limit int) []byte {
	n := d.uint32()
	if int64(n) > int64(limit) {
		d.bad = true
		return nil
	}
	p := d.take(int(n) + padding(int(n)))
	if p == nil {
		return nil
	}
	return p[:n]
}

// padding is how many bytes follow n others, so that all are a multiple of 4.
func padding(n int) int { return -n & 3 }

// encoder appends values in the external data representation.
type encoder []byte

func (e *encoder) uint32(v uint32) { *e = binary.BigEndian.AppendUint32(*e, v) }
func (e *encoder) uint64(v uint64) { *e = binary.BigEndian.AppendUint64(*e, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint32(1)
	} else {
		e.uint32(0)
	}
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	*e = append(*e, s...)
	e.pad(len(s))
}

// pad appends what follows n bytes.
func (e *encoder) pad(n int) { *e = append(*e, "\x00\x00\x00"[:padding(n)]...) }

// grow appends n bytes of any value and returns them.
func (e *encoder) grow(n int) []byte {
	have := len(*e)
	*e = slices.Grow(*e, n)[:have+n]
	return (*e)[have:]
}
