package nfs

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// recordLimit is how many bytes a call may have. The longest that belong to a
	// file system that nobody writes to have 5,000.
	recordLimit = 32 << 10
	// fragmentLimit is how many pieces a call may come in.
	fragmentLimit = 4096
	// batch is how many bytes of answers to calls that came together are sent
	// together.
	batch = 32 << 10

	lastFragment = 1 << 31
)

var (
	errTooLong = fmt.Errorf("a call of more than %d bytes", recordLimit)
	errPieces  = fmt.Errorf("a call in more than %d pieces", fragmentLimit)
)

// conn is a connection. Its calls are answered one after the other: a client that
// sends many gets no more turns than one that sends few, and the next call of one
// that does not take its answers is not even read.
type conn struct {
	server   *Server
	nc       net.Conn
	from     netip.Addr
	in       *bufio.Reader // reads through conn.Read
	record   []byte
	call     call
	out      *[]byte      // of buffers: answers that were not sent yet, nil when there are none
	lastCall atomic.Int64 // when one came, in nanoseconds
	silence  deadline     // of the client
	taking   deadline     // of an answer
}

// deadline is when waiting for a client ends.
type deadline struct{ at time.Time }

// extend gives the client as long again, unless more than half of that is left: to
// set a deadline takes longer than to make an answer.
func (d *deadline) extend(limit time.Duration, set func(time.Time) error) error {
	now := time.Now()
	if d.at.Sub(now) > limit/2 {
		return nil
	}
	d.at = now.Add(limit)
	return set(d.at)
}

// buffers hold answers. One of a megabyte would not be faster: what was copied
// into it has left the processor's cache before it is copied to the network.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, batch+readLimit+1024)
	return &b
}}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, nc: nc}
	if from, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.from = from.Addr().Unmap()
	}
	c.in = bufio.NewReaderSize(c, 4<<10)
	c.call = call{server: s, from: c.from}
	c.lastCall.Store(time.Now().UnixNano())
	return c
}

// serve answers calls until the connection ends.
func (c *conn) serve() {
	defer c.nc.Close()
	defer func() {
		if p := recover(); p != nil {
			c.server.Log.Error("nfs: panic", "from", c.from, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	switch err := c.answerAll(); err {
	case errTooLong, errPieces, errNoCall:
		c.server.warn(c.from, "a connection is closed, as what came is no call that a client of NFS makes", "err", err)
	}
}

// answerAll is how a connection ends: io.EOF when the client closes it.
func (c *conn) answerAll() error {
	for {
		if err := c.readRecord(); err != nil {
			return err
		}
		c.lastCall.Store(time.Now().UnixNano())
		if c.out == nil {
			c.out = buffers.Get().(*[]byte)
		}
		begin := len(*c.out)
		answer, err := c.call.answer(c.record, append(*c.out, 0, 0, 0, 0))
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(answer[begin:], lastFragment|uint32(len(answer)-begin-4))
		*c.out = answer
		if len(answer) >= batch {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
}

// readRecord reads a record into c.record: see RFC 5531, section 11.
func (c *conn) readRecord() error {
	c.record = c.record[:0]
	for range fragmentLimit {
		var mark [4]byte
		if _, err := io.ReadFull(c.in, mark[:]); err != nil {
			return err
		}
		head := binary.BigEndian.Uint32(mark[:])
		size, have := int(head&^lastFragment), len(c.record)
		if size > recordLimit-have {
			return errTooLong
		}
		c.record = slices.Grow(c.record, size)[:have+size]
		if _, err := io.ReadFull(c.in, c.record[have:]); err != nil {
			return err
		}
		if head&lastFragment != 0 {
			return nil
		}
	}
	return errPieces
}

// Read reads from the client for c.in. Before it waits, it sends the answers that
// are ready.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	if err := c.silence.extend(cmp.Or(c.server.IdleTimeout, 15*time.Minute), c.nc.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// flush sends the answers that are ready.
func (c *conn) flush() error {
	if c.out == nil {
		return nil
	}
	err := c.taking.extend(cmp.Or(c.server.WriteTimeout, time.Minute), c.nc.SetWriteDeadline)
	if err == nil {
		_, err = c.nc.Write(*c.out)
	}
	*c.out = (*c.out)[:0]
	buffers.Put(c.out)
	c.out = nil
	return err
}
