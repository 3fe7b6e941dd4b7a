//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// block is how many bytes reach the disk together: a sector of today's disks, and a
// page of Linux.
const block = 4096

// disk is a disk with a cache that loses its content when the power is cut, as real
// ones have: what was written is sure to be on it only after the next flush. QEMU
// reaches it over NBD (doc/proto.md of the project of that name).
type disk struct {
	file *os.File // what is on the disk for sure
	size int64

	mu      sync.Mutex
	cache   map[int64][]byte // of blocks that were written since the last flush, by number
	off     bool             // the power was cut
	flushes int
	lost    int // blocks, at all cuts
}

func openDisk(path string) (*disk, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &disk{file: file, size: info.Size(), cache: map[int64][]byte{}}, nil
}

// cut cuts the power. Of what was not flushed, some blocks are on the disk, and
// some are not.
func (d *disk) cut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	for n := range d.cache {
		if rand.IntN(2) == 0 {
			delete(d.cache, n)
			d.lost++
		}
	}
	return d.writeBack()
}

// on gives the power back.
func (d *disk) on() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = false
}

func (d *disk) writeBack() error {
	for n, b := range d.cache {
		if _, err := d.file.WriteAt(b, n*block); err != nil {
			return err
		}
	}
	clear(d.cache)
	return nil
}

// The numbers of the protocol.
const (
	nbdMagic     = 0x4e42444d41474943 // "NBDMAGIC"
	nbdHaveOpt   = 0x49484156454f5054 // "IHAVEOPT"
	nbdOptReply  = 0x3e889045565a9
	nbdRequest   = 0x25609513
	nbdReply     = 0x67446698
	optGo        = 7
	replyAck     = 1
	replyInfo    = 3
	replyUnknown = 1<<31 + 1
	newStyle     = 1     // both sides
	canFlush     = 1 | 4 // of the disk
	cmdRead      = 0
	cmdWrite     = 1
	cmdEnd       = 2
	cmdFlush     = 3
	errInvalid   = 22
)

// errOff ends a connection when the power was cut.
var errOff = errors.New("the power is off")

// serve answers one QEMU until that ends, or until the cut.
func (d *disk) serve(c net.Conn) error {
	defer c.Close()
	if err := d.negotiate(c); err != nil {
		return fmt.Errorf("negotiate: %w", err)
	}
	for {
		var r struct {
			Magic       uint32
			Flags, Type uint16
			Handle      uint64
			Offset      int64
			Length      uint32
		}
		if err := binary.Read(c, binary.BigEndian, &r); err != nil || r.Type == cmdEnd {
			return nil // it was killed, or ends
		}
		if r.Magic != nbdRequest {
			return errors.New("what came is no request")
		}
		data := []byte(nil)
		if r.Type == cmdRead || r.Type == cmdWrite {
			data = make([]byte, r.Length)
		}
		if r.Type == cmdWrite {
			if _, err := io.ReadFull(c, data); err != nil {
				return nil
			}
		}
		failed, err := d.do(r.Type, data, r.Offset)
		if errors.Is(err, errOff) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := binary.BigEndian.AppendUint32(nil, nbdReply)
		answer = binary.BigEndian.AppendUint32(answer, failed)
		answer = binary.BigEndian.AppendUint64(answer, r.Handle)
		if r.Type == cmdRead && failed == 0 {
			answer = append(answer, data...)
		}
		if _, err := c.Write(answer); err != nil {
			return nil
		}
	}
}

// negotiate offers the one disk that there is, under any name.
func (d *disk) negotiate(c net.Conn) error {
	hello := binary.BigEndian.AppendUint64(nil, nbdMagic)
	hello = binary.BigEndian.AppendUint64(hello, nbdHaveOpt)
	hello = binary.BigEndian.AppendUint16(hello, newStyle)
	var flags uint32
	if _, err := c.Write(hello); err != nil {
		return err
	}
	if err := binary.Read(c, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var o struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(c, binary.BigEndian, &o); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, int64(o.Length)); err != nil {
			return err
		}
		reply := func(kind uint32, data []byte) error {
			b := binary.BigEndian.AppendUint64(nil, nbdOptReply)
			for _, v := range []uint32{o.Option, kind, uint32(len(data))} {
				b = binary.BigEndian.AppendUint32(b, v)
			}
			_, err := c.Write(append(b, data...))
			return err
		}
		if o.Option != optGo {
			if err := reply(replyUnknown, nil); err != nil {
				return err
			}
			continue
		}
		export := binary.BigEndian.AppendUint64([]byte{0, 0}, uint64(d.size))
		export = binary.BigEndian.AppendUint16(export, canFlush)
		return errors.Join(reply(replyInfo, export), reply(replyAck, nil))
	}
}

// do carries out a request; failed is the number of the error that QEMU is told.
func (d *disk) do(kind uint16, data []byte, offset int64) (failed uint32, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return 0, errOff
	}
	if offset < 0 || offset+int64(len(data)) > d.size {
		return errInvalid, nil
	}
	switch kind {
	case cmdRead:
		return 0, d.read(data, offset)
	case cmdWrite:
		return 0, d.write(data, offset)
	case cmdFlush:
		d.flushes++
		return 0, d.writeBack()
	}
	return errInvalid, nil
}

func (d *disk) read(data []byte, offset int64) error {
	if _, err := d.file.ReadAt(data, offset); err != nil {
		return err
	}
	for n := offset / block; n*block < offset+int64(len(data)); n++ {
		if b := d.cache[n]; b != nil {
			from := max(offset, n*block)
			copy(data[from-offset:], b[from-n*block:])
		}
	}
	return nil
}

func (d *disk) write(data []byte, offset int64) error {
	for len(data) > 0 {
		n, within := offset/block, offset%block
		b := d.cache[n]
		if b == nil {
			b = make([]byte, block)
			if _, err := d.file.ReadAt(b, n*block); err != nil {
				return err
			}
			d.cache[n] = b
		}
		taken := copy(b[within:], data)
		data, offset = data[taken:], offset+int64(taken)
	}
	return nil
}
