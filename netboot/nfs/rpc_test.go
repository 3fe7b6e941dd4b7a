package nfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/images/imagetest"
)

func TestCallsThatAreRefused(t *testing.T) {
	t.Parallel()
	c, root := served(t, regular("f", ""))
	getattr := encode(root)
	for _, call := range []struct {
		program, vers, procedure uint32
		args                     []byte
		want                     []uint32
	}{
		{100021, 4, 0, nil, []uint32{replyAccepted, 0, 0, acceptProgUnavailable}}, // locks
		{programACL, 2, 0, nil, []uint32{replyAccepted, 0, 0, acceptProgMismatch, 3, 3}},
		{programNFS, 4, 0, nil, []uint32{replyAccepted, 0, 0, acceptProgMismatch, 3, 3}},
		{programMount, 1, 1, nil, []uint32{replyAccepted, 0, 0, acceptProgMismatch, 3, 3}},
		{programNFS, 3, 22, nil, []uint32{replyAccepted, 0, 0, acceptProcUnavailable}},
		{programNFS, 3, 1<<32 - 1, nil, []uint32{replyAccepted, 0, 0, acceptProcUnavailable}},
		{programMount, 3, 6, nil, []uint32{replyAccepted, 0, 0, acceptProcUnavailable}},
		{programNFS, 3, 1, nil, []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
		{programNFS, 3, 1, getattr[:20], []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
		{programNFS, 3, 1, encode(handle(make([]byte, 65))), []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
		{programNFS, 3, 6, getattr, []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
		{programNFS, 3, 17, encode(root, uint64(0), uint64(0), 4096), []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
		{programMount, 3, 1, encode(-1), []uint32{replyAccepted, 0, 0, acceptGarbageArguments}},
	} {
		d := c.raw(call.program, call.vers, call.procedure, call.args)
		wantWords(t, d, append([]uint32{messageReply}, call.want...)...)
		wantEnd(t, d)
	}
	for name, cred := range map[string][]byte{
		"flavor": {0, 0, 0, 6, 0, 0, 0, 0}, "empty": {0, 0, 0, 1, 0, 0, 0, 0}, "groups": asUser(0, 0, make([]uint32, 17)...),
	} {
		c.cred = cred
		d := c.raw(programNFS, version, 1, getattr)
		wantWords(t, d, messageReply, replyDenied, deniedAuth, authBadCred)
		if wantEnd(t, d); t.Failed() {
			t.Fatal(name)
		}
	}
	c.cred = asUser(0, 0, make([]uint32, 16)...)
	c.getattr(root)
	m := c.message(programNFS, version, 1, getattr)
	m[15] = 3 // of RPC
	c.send(m)
	b, err := c.record()
	if want := encode(int(c.xid), messageReply, replyDenied, deniedVersion, 2, 2); err != nil || !bytes.Equal(b, want) {
		t.Errorf("got %v, %v, want %v", b, err, want)
	}
}

// pieces cuts a call in pieces of the size, and puts empty ones between them.
func pieces(message []byte, size int) (all []byte) {
	rest := message[4:]
	for len(rest) > 0 {
		n := min(size, len(rest))
		all = binary.BigEndian.AppendUint32(all, uint32(n))
		all = append(all, rest[:n]...)
		all = binary.BigEndian.AppendUint32(all, 0)
		rest = rest[n:]
	}
	return binary.BigEndian.AppendUint32(all, lastFragment)
}

func TestCallsInPieces(t *testing.T) {
	t.Parallel()
	c, root := served(t, regular("f", "hello"))
	for _, size := range []int{1, 3, 7, 1000} {
		c.send(pieces(c.message(programNFS, version, 1, encode(root)), size))
		b, err := c.record()
		if err != nil || binary.BigEndian.Uint32(b) != c.xid || len(b) != 24+4+84 {
			t.Errorf("pieces of %d: %d bytes, %v", size, len(b), err)
		}
	}
}

// Calls that came together are all answered, also those that came twice.
func TestCallsTogether(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789", 50_000)
	c, root := served(t, regular("f", content))
	f, _ := c.lookup(root, "f")
	getattr := slices.Clone(c.message(programNFS, version, 1, encode(root)))
	read := slices.Clone(c.message(programNFS, version, 6, encode(f, uint64(1), 100_000)))
	go c.conn.Write(slices.Concat(getattr, read, getattr, getattr, read, read, getattr[:9]))
	for k, isRead := range []bool{false, true, false, false, true, true} {
		b, err := c.record()
		if err != nil {
			t.Fatal(err)
		}
		d := &decoder{b: b}
		if !isRead {
			wantWords(t, d, c.xid-1, messageReply, replyAccepted, authNone, 0, acceptSuccess, statOK)
			takeAttributes(d)
			wantEnd(t, d)
			continue
		}
		wantWords(t, d, c.xid, messageReply, replyAccepted, authNone, 0, acceptSuccess, statOK)
		takeOptional(t, d)
		wantWords(t, d, 100_000, 0)
		if got := d.opaque(readLimit); string(got) != content[1:100_001] {
			t.Errorf("answer %d has other bytes", k)
		}
		wantEnd(t, d)
	}
}

// wantClosed fails unless the server ends the connection.
func wantClosed(t *testing.T, c *client) {
	t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c.conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

func TestWhatIsNoCallEndsItsConnection(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, regular("f", "")))
	l := &lab{}
	l.show(home, d, tree)
	addr, _, logged := start(t, l)
	good := dial(t, addr, home)
	root := good.mount(d)
	empty := make([]byte, 4*fragmentLimit)
	reply := encode(lastFragment|40, 1, messageReply, 2, 100003, 3, 0, 0, 0, 0, 0)
	for k, sent := range [][]byte{
		encode(lastFragment | 64<<20), encode(64 << 20), encode(1<<31 - 1), encode(lastFragment | (recordLimit + 1)), // as soon as that is said
		append(encode(recordLimit), append(make([]byte, recordLimit), 0, 0, 0, 1)...),
		empty, encode(lastFragment), encode(lastFragment|4, 7), reply,
	} {
		bad := dial(t, addr, "127.0.0."+string(rune('2'+k)))
		bad.send(sent)
		wantClosed(t, bad)
		good.getattr(root)
	}
	if n := logged.count("a connection is closed"); n != 9 {
		t.Errorf("%d lines in the log, want 9", n)
	}
}

func TestSilentClientsAreClosed(t *testing.T) {
	t.Parallel()
	addr, _, _ := start(t, &lab{}, func(s *Server) { s.IdleTimeout = 50 * time.Millisecond })
	begin := time.Now()
	silent, slow := dial(t, addr, home), dial(t, addr, home)
	slow.send([]byte{0x80, 0})
	wantClosed(t, silent)
	wantClosed(t, slow)
	if d := time.Since(begin); d < 50*time.Millisecond {
		t.Errorf("after %v", d)
	}
}

// A client that takes no answers is not read from, and closed in the end; others
// do not notice.
func TestClientsThatTakeNoAnswersAreClosed(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, regular("f", strings.Repeat("x", readLimit))))
	l := &lab{}
	l.show(home, d, tree)
	addr, _, _ := start(t, l, func(s *Server) { s.WriteTimeout = 300 * time.Millisecond })
	c, other := dial(t, addr, home), dial(t, addr, home)
	f, _ := c.lookup(c.mount(d), "f")
	_ = c.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	call := slices.Clone(c.message(programNFS, version, 6, encode(f, uint64(0), readLimit)))
	sent := 0
	for {
		_ = c.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
		n, err := c.conn.Write(call)
		if sent += n; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is not closed")
		} else if err != nil {
			break
		}
		if sent > 64<<20 {
			t.Fatal("the server reads on")
		}
		other.getattr(f)
	}
}

func TestSurplusConnections(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, regular("f", "")))
	l := &lab{}
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		l.show(from, d, tree)
	}
	addr, s, _ := start(t, l, func(s *Server) { s.MaxConns, s.MaxConnsPerAddr = 4, 2 })
	count := func(n int) {
		t.Helper()
		until(t, "the connections", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.conns) == n })
	}
	a, b := dial(t, addr, "127.0.0.1"), dial(t, addr, "127.0.0.1")
	root := b.mount(d)
	a.getattr(root)
	c := dial(t, addr, "127.0.0.1") // the third from there: b is silent for longest
	wantClosed(t, b)
	c.getattr(root)
	x, y := dial(t, addr, "127.0.0.2"), dial(t, addr, "127.0.0.2")
	x.getattr(root)
	y.getattr(root)
	count(4)
	c.getattr(root)
	z := dial(t, addr, "127.0.0.3") // the fifth of all
	z.getattr(root)
	wantClosed(t, a)
	for _, alive := range []*client{c, x, y, z} {
		alive.getattr(root)
	}
	count(4)
}

func TestClose(t *testing.T) {
	t.Parallel()
	addr, s, _ := start(t, &lab{})
	c := dial(t, addr, home)
	wantEnd(t, c.nfs(0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is not closed: %v", err)
	}
}

// failing is a listener whose first calls of Accept fail.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		return f.Listener.Accept()
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, &net.OpError{Op: "accept", Err: err}
}

func TestListenersThatFail(t *testing.T) {
	t.Parallel()
	s := &Server{Exports: &lab{}, Log: slog.New(slog.DiscardHandler)}
	for _, errs := range [][]error{{syscall.EMFILE, errors.New("closed in words of its own")}, {net.ErrClosed}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := &failing{l, errs}
		if err := s.Serve(f); err == nil || len(f.errs) > 0 {
			t.Errorf("%v: %v, with %d calls left", errs, err, len(f.errs))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// An answer that cannot be read from the disk is an error, not a wrong one.
func TestDamagedContent(t *testing.T) {
	t.Parallel()
	d, tree, dir := imageIn(t, imagetest.Archive(t, regular("f", strings.Repeat("x", 100_000)), regular("g", "")))
	l := &lab{}
	l.show(home, d, tree)
	addr, _, logged := start(t, l)
	c := dial(t, addr, home)
	f, _ := c.lookup(c.mount(d), "f")
	blobs, err := filepath.Glob(dir + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if err := os.Truncate(b, 1000); err != nil {
			t.Fatal(err)
		}
	}
	res := c.nfs(6, f, uint64(0), 4096)
	wantWords(t, res, statIO)
	takeOptional(t, res)
	wantEnd(t, res)
	if logged.count("cannot be read") != 1 {
		t.Error("nothing in the log")
	}
	c.getattr(f)
}
