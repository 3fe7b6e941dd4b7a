package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"time"
)

// tries is how often what a client does not confirm is sent.
const tries = 8

// errSilent says that a client confirms nothing any more.
var errSilent = errors.New("the client is silent")

// transfer is the sending of a file. Blocks have numbers from 1 on; on the wire these
// begin anew at 0 after 65535.
type transfer struct {
	conn net.Conn
	file File
	terms
	heard     func() // is called when the client confirms something new
	confirmed int64  // blocks
}

// sent is how many bytes the client has confirmed.
func (t *transfer) sent() int64 {
	if bytes := t.confirmed * int64(t.block); bytes < t.file.Size || t.file.Size == Unknown {
		return bytes
	}
	return t.file.Size
}

// last is the number of the last block, which is not full: that says that it is the last.
func (t *transfer) last() int64 {
	if t.file.Size == Unknown {
		return math.MaxInt64
	}
	return t.file.Size/int64(t.block) + 1
}

// run sends the whole file.
func (t *transfer) run(r *request) error {
	if accepted := r.accepted(t.terms, t.file.Size); accepted != nil {
		if err := t.agree(accepted); err != nil {
			return err
		}
	}
	packet := make([]byte, headerSize+t.block)
	for try := 0; t.confirmed < t.last(); try++ {
		if try == tries {
			return errSilent
		}
		end := t.confirmed
		for end < min(t.confirmed+int64(t.window), t.last()) {
			end++
			if err := t.sendBlock(packet, end); err != nil {
				return err
			}
		}
		before := t.confirmed
		if err := t.await(end); err != nil {
			return err
		}
		if t.confirmed > before {
			try = -1
		}
	}
	return nil
}

// agree sends what both agree on until the client confirms that.
func (t *transfer) agree(accepted []byte) error {
	for range tries {
		if _, err := t.conn.Write(accepted); err != nil {
			return err
		}
		n, err := t.confirm(time.Now().Add(t.wait), func(n uint16) bool { return n == 0 })
		if n >= 0 || err != nil {
			return err
		}
	}
	return errSilent
}

func (t *transfer) sendBlock(packet []byte, n int64) error {
	read, err := t.read(packet[headerSize:], (n-1)*int64(t.block))
	if err != nil {
		_, _ = t.conn.Write((&failure{undefined, "the server cannot read the file"}).packet()) // it gives up
		return fmt.Errorf("read the file: %w", err)
	}
	b := packet[:headerSize+read]
	binary.BigEndian.PutUint16(b, opData)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	_, err = t.conn.Write(b)
	return err
}

// read reads a block, and waits for it if the file grows.
func (t *transfer) read(block []byte, at int64) (int, error) {
	for t.file.Size == Unknown {
		n, err := t.file.ReadAt(block, at)
		switch {
		case errors.Is(err, ErrLater):
			// The client may give up meanwhile.
			if _, err := t.confirm(time.Now().Add(t.file.Pause), func(uint16) bool { return false }); err != nil {
				return 0, err
			}
		case errors.Is(err, io.EOF):
			t.file.Size = at + int64(n)
			return n, nil
		default:
			return n, err
		}
	}
	block = block[:min(int64(len(block)), t.file.Size-at)]
	n, err := t.file.ReadAt(block, at)
	if n < len(block) {
		return n, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return n, nil
}

// await waits until the client confirms one of the blocks up to end that were sent: the
// last of them, or one before a block that it lacks. It does nothing when the client is silent.
func (t *transfer) await(end int64) error {
	n, err := t.confirm(time.Now().Add(t.wait), func(n uint16) bool {
		ahead := int64(n - uint16(t.confirmed)) // over the end of the numbers, too
		return ahead >= 1 && ahead <= end-t.confirmed
	})
	if n >= 0 {
		t.confirmed += int64(uint16(n) - uint16(t.confirmed))
	}
	return err
}

// confirm returns the number of the block that the client confirms, when that is wanted:
// others are of what was sent twice. It is -1 when nothing came until then.
func (t *transfer) confirm(until time.Time, wanted func(uint16) bool) (int, error) {
	if err := t.conn.SetReadDeadline(until); err != nil {
		return -1, err
	}
	var b [requestSize]byte
	for {
		n, err := t.conn.Read(b[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return -1, nil
		case err != nil:
			return -1, err
		case n < headerSize:
			continue
		}
		number := binary.BigEndian.Uint16(b[2:])
		switch binary.BigEndian.Uint16(b[:]) {
		case opAck:
			if wanted(number) {
				t.heard()
				return int(number), nil
			}
		case opError: // as firmware does that only wanted to know the size
			return -1, fmt.Errorf("the client gave up: error %d", number)
		}
	}
}
