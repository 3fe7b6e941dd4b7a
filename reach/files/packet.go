package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"walt/reach/files/wire"
)

const (
	// longestPath is how many bytes a path may have, as in Linux.
	longestPath = 4096
	// longestHandle is how many bytes the handle of a file may have.
	longestHandle = 256
)

// errMalformed says that somebody does not speak the protocol.
var errMalformed = errors.New("it does not speak SFTP")

// packets reads packets, one after the other.
type packets struct {
	r   *bufio.Reader
	buf []byte
}

func newPackets(r io.Reader) *packets { return &packets{r: bufio.NewReaderSize(r, 64<<10)} }

// usual is how large the memory for packets is that goes on being held.
const usual = 64 << 10

// next returns the next packet, from its type on. It is valid until next is called again, and
// memory is taken for it as it comes.
func (p *packets) next() ([]byte, error) {
	head, err := p.r.Peek(4)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head))
	if size < 1 || size > wire.Longest {
		return nil, fmt.Errorf("%w: a packet of %d bytes", errMalformed, uint32(size))
	}
	_, _ = p.r.Discard(4)
	if cap(p.buf) > usual && size <= usual {
		p.buf = nil
	}
	p.buf = p.buf[:0]
	for len(p.buf) < size {
		part := min(size-len(p.buf), usual)
		p.buf = slices.Grow(p.buf, part)
		begun := len(p.buf)
		p.buf = p.buf[:begun+part]
		if _, err := io.ReadFull(p.r, p.buf[begun:]); err != nil {
			return nil, err
		}
	}
	return p.buf, nil
}

// parser takes fields from the front of a packet. After the first that is not there, all are
// zero.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if p.bad || n < 0 || n > len(p.b) {
		p.bad, p.b = true, nil
		return nil
	}
	field := p.b[:n:n]
	p.b = p.b[n:]
	return field
}

func (p *parser) uint8() uint8 {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text takes a string; it is a part of the packet.
func (p *parser) text() []byte {
	n := p.uint32()
	if uint64(n) > uint64(len(p.b)) {
		p.take(-1)
		return nil
	}
	return p.take(int(n))
}

// attrs takes attributes and returns all of their bytes.
func (p *parser) attrs() []byte {
	whole := p.b
	flags := p.uint32()
	for flag, size := range map[uint32]int{wire.HasSize: 8, wire.HasOwner: 8, wire.HasMode: 4, wire.HasTimes: 8} {
		if flags&flag != 0 {
			p.take(size)
		}
	}
	if flags&wire.HasExtended != 0 {
		for n := p.uint32(); n > 0 && !p.bad; n-- {
			p.text()
			p.text()
		}
	}
	if p.bad {
		return nil
	}
	return whole[:len(whole)-len(p.b)]
}

// Writing of packets: begin, then the fields, then end.

func begin(b []byte, kind byte, id uint32) []byte {
	b = append(b[:0], 0, 0, 0, 0, kind)
	return binary.BigEndian.AppendUint32(b, id)
}

func end(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// status makes the answer of that kind.
func status(b []byte, id uint32, code uint32, words string) []byte {
	b = binary.BigEndian.AppendUint32(begin(b, wire.Status, id), code)
	return end(wire.AppendText(wire.AppendText(b, words), "en"))
}

// Attributes of what is not a file of a node or image, a directory that nobody can change.
func folderAttrs(b []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, wire.HasMode), 0o40555)
}
