package sshd

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"walt/auth"
)

// maxKept is how much input, in bytes, is kept for whoever reads next, before the
// client has to wait.
const maxKept = 16 << 10

// inflow is what the client of a session sends. The library keeps 2 MiB of it, many
// times that in memory when it comes in small packets, for as long as nobody reads.
// So it is read at once, and counts among the backlog while the client has to wait
// for the command. When the session has ended, all of it is dropped.
type inflow struct {
	conn *conn
	user auth.Name
	end  func() // ends the session

	base int64 // what the connection had received, and nobody read, when all of this was read last

	mu   sync.Mutex
	more sync.Cond
	kept bytes.Buffer
	err  error // of the client's side: io.EOF when it said all
	over bool  // nobody reads any more
}

func newInflow(c *conn, user auth.Name, end func()) *inflow {
	in := &inflow{conn: c, user: user, end: end}
	in.more.L = &in.mu
	return in
}

// pump reads what the client sends until that ends, or the channel.
func (in *inflow) pump(from io.Reader) {
	p := make([]byte, 2<<10)
	for {
		before := in.conn.stuck.unread.Load()
		n, err := from.Read(p)
		in.conn.input(-n)
		if n < len(p) { // there was no more
			in.base = before
		}
		in.put(p[:n], err)
		if err != nil {
			return
		}
	}
}

// put keeps what was read, and returns when there is room for more.
func (in *inflow) put(p []byte, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.err = err
	if !in.over {
		in.kept.Write(p)
	}
	in.more.Broadcast()
	if in.over || in.kept.Len() < maxKept || err != nil {
		return
	}
	in.mu.Unlock()
	in.conn.srv.backlog.stick(in)
	in.mu.Lock()
	for !in.over && in.kept.Len() > maxKept/2 {
		in.more.Wait()
	}
	in.mu.Unlock()
	in.conn.srv.backlog.loosen(in)
	in.mu.Lock()
}

// Read returns what the client sent, as it comes, until the session has ended.
func (in *inflow) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.kept.Len() == 0 && in.err == nil && !in.over {
		in.more.Wait()
	}
	defer in.more.Broadcast()
	switch {
	case in.kept.Len() > 0:
		return in.kept.Read(p)
	case in.err != nil:
		return 0, in.err
	}
	return 0, io.EOF
}

// discard drops what was not read, and all that is still to come.
func (in *inflow) discard() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over, in.kept = true, bytes.Buffer{}
	in.more.Broadcast()
}

// drain drops what clients must not send: nothing reads a second stream of input,
// and the library would keep it.
func drain(stream io.Reader) {
	p := make([]byte, 512)
	for err := error(nil); err == nil; {
		_, err = stream.Read(p)
	}
}

// stuck are the sessions of a connection whose input waits for their commands. The
// library does not tell what it keeps for them, nor what memory that takes, which
// depends on the packets. But it is about what the connection received meanwhile and
// nobody read.
type stuck struct {
	unread atomic.Int64 // bytes that the connection received, without the input that was read
	any    atomic.Bool

	// The mutex of the backlog guards these.
	in    []*inflow
	waits *wait // what they are counted with; nil while there are none
}

// input notes that so many bytes came from the client, or, when it is negative, that
// so many bytes of input were read.
func (c *conn) input(n int) {
	c.stuck.unread.Add(int64(n))
	if c.stuck.any.Load() {
		c.srv.backlog.grow(c, n)
	}
}

// stick counts a session whose input waits.
func (b *backlog) stick(in *inflow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &in.conn.stuck
	if _, counted := b.waiting[s.waits]; !counted {
		s.waits = &wait{end: s.end, since: time.Now()}
		b.waiting[s.waits] = struct{}{}
	}
	s.in = append(s.in, in)
	b.count(s.waits, perInput)
	if !s.any.Swap(true) { // what comes from now on is counted as it comes
		b.count(s.waits, int(max(0, s.unread.Load()-in.base)))
	}
	b.relieve()
}

// grow counts what came for the sessions of a connection that wait, or was read.
func (b *backlog) grow(c *conn, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &c.stuck
	if s.waits != nil {
		b.count(s.waits, max(n, -s.waits.bytes))
		b.relieve()
	}
}

// loosen ends with a session whose input waited.
func (b *backlog) loosen(in *inflow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &in.conn.stuck
	s.in = slices.DeleteFunc(s.in, func(other *inflow) bool { return other == in })
	b.count(s.waits, -min(perInput, s.waits.bytes))
	if len(s.in) == 0 {
		s.any.Store(false)
		b.remove(s.waits)
		s.waits = nil
	}
}

// end ends all of them. The backlog is locked.
func (s *stuck) end(waited time.Duration) {
	for i, in := range s.in {
		if i == 0 {
			in.conn.srv.log.Warn("too much input waits for commands that do not read it: the sessions of the connection that waited longest are ended",
				"user", in.user, "from", in.conn.from, "sessions", len(s.in), "waited", waited.Round(time.Second))
		}
		in.end()
	}
}
