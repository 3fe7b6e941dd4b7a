package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// peer is the other end of a telnet connection, which says what it has to, in pieces.
type peer struct {
	net.Conn
	says   [][]byte
	hears  bytes.Buffer
	takes  int // bytes, and no more; 0 is all
	closed bool
}

func (p *peer) SetWriteDeadline(time.Time) error { return nil }

func (p *peer) Close() error {
	p.closed = true
	return nil
}

func (p *peer) Read(b []byte) (int, error) {
	if len(p.says) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.says[0])
	if p.says[0] = p.says[0][n:]; len(p.says[0]) == 0 {
		p.says = p.says[1:]
	}
	return n, nil
}

func (p *peer) Write(b []byte) (int, error) {
	if p.takes > 0 && p.takes < len(b) {
		p.hears.Write(b[:p.takes])
		return p.takes, os.ErrDeadlineExceeded
	}
	return p.hears.Write(b)
}

// newPeer returns one, and the connection to it, whose beginning it has heard.
func newPeer(t testing.TB, says ...string) (*peer, *telnet) {
	t.Helper()
	p := &peer{}
	for _, s := range says {
		p.says = append(p.says, []byte(s))
	}
	c, err := newTelnet(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\xff\xfb\x00\xff\xfd\x00\xff\xfb\x03\xff\xfd\x03\xff\xfb\x2c"; p.hears.String() != want {
		t.Errorf("it begins with %q, want %q", p.hears.String(), want)
	}
	p.hears.Reset()
	return p, c
}

// agrees is what a peer says that agrees to all that it is asked at first.
const agrees = "\xff\xfd\x00\xff\xfb\x00\xff\xfd\x03\xff\xfb\x03\xff\xfd\x2c"

// What a terminal server says is taken apart into what is of the line and what is answered, in
// whatever pieces it comes.
func TestTelnetReads(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]struct{ line, answers string }{
		"login: ":                    {line: "login: "},
		"a\xff\xffb\xff\xff\xff\xff": {line: "a\xffb\xff\xff"},
		"a\r\nb\r\x00c\r\x00\x00d":   {line: "a\r\nb\rc\r\x00d"},
		"\xff\xfb\x00a\r\x00b":       {line: "a\r\x00b"},
		agrees + "\x00\r\x00":        {line: "\x00\r\x00"},
		agrees + agrees:              {},
		"a\xff\xf1b\xff\xf2c\xff\xf9d\xff\xf6e\xff\xf3f":   {line: "abcdef"}, // not a word for who prints
		"\xff\xfb\x01\xff\xfb\x01":                         {answers: "\xff\xfd\x01"},
		"\xff\xfd\x01":                                     {answers: "\xff\xfc\x01"}, // no echo of what the line brings
		"\xff\xfd\x18\xff\xfd\x1f\xff\xfb\x05\xff\xfd\xff": {answers: "\xff\xfc\x18\xff\xfc\x1f\xff\xfe\x05\xff\xfc\xff"},
		"\xff\xfe\x00\xff\xfc\x00\xff\xfe\x18\xff\xfc\x05": {}, // there is nothing to change
		"\xff\xfd\x00\xff\xfe\x00\xff\xfe\x00\xff\xfd\x00": {answers: "\xff\xfc\x00\xff\xfb\x00"},
		"\xff\xfb\x00\xff\xfc\x00a\r\x00":                  {line: "a\r", answers: "\xff\xfe\x00"},
		"a\xff\xfa\x2c\x6b\xff\xff\xf0\x00\xff\xf0b":       {line: "ab"},
		"a\xff\xfa\x18\x01\xff\xfd\x18b":                   {line: "ab", answers: "\xff\xfc\x18"}, // without an end
		"a\xff\xf0b\xff":                                   {line: "ab"},
	} {
		for _, size := range []int{len(says), 1, 2, 3} {
			p, c := newPeer(t)
			for piece := []byte(says); len(piece) > 0; piece = piece[min(size, len(piece)):] {
				p.says = append(p.says, piece[:min(size, len(piece))])
			}
			line, err := io.ReadAll(c)
			if err != nil || string(line) != want.line || p.hears.String() != want.answers {
				t.Errorf("%q in pieces of %d: %q, answered with %q, %v; want %+q", says, size, line, p.hears.String(), err, want)
			}
		}
	}
}

// What is typed comes to the line as it is, whatever the peer agreed to.
func TestTelnetWrites(t *testing.T) {
	t.Parallel()
	const typed = "a\r\n\x00\xff\r\x00\xff\xff"
	for says, want := range map[string]string{
		"":             "a\r\x00\n\x00\xff\xff\r\x00\x00\xff\xff\xff\xff",
		"\xff\xfe\x00": "a\r\x00\n\x00\xff\xff\r\x00\x00\xff\xff\xff\xff",
		"\xff\xfd\x00": "a\r\n\x00\xff\xff\r\x00\xff\xff\xff\xff",
	} {
		p, c := newPeer(t, says)
		_, err := io.ReadAll(c)
		n, failed := c.Write([]byte(typed))
		if err = errors.Join(err, failed); err != nil || n != len(typed) || p.hears.String() != want {
			t.Errorf("after %q: %d bytes as %q, %v; want %q", says, n, p.hears.String(), err, want)
		}
	}
	for takes, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 5: 3} {
		p, c := newPeer(t)
		p.takes = takes
		n, err := c.Write([]byte("a\xff\rb"))
		if half := takes == 2 || takes == 4; !errors.Is(err, os.ErrDeadlineExceeded) || n != want || p.closed != half {
			t.Errorf("where %d bytes are taken: %d were, %v, and it is closed: %v", takes, n, err, p.closed)
		}
	}
}

// A BREAK is one of telnet, or the line is held for a moment where the peer can be told so.
func TestTelnetBreak(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"":                         "\xff\xf3",
		"\xff\xfe\x2c":             "\xff\xf3",
		"\xff\xfd\x2c\xff\xfe\x2c": "\xff\xfc\x2c\xff\xf3",
		"\xff\xfd\x2c":             "\xff\xfa\x2c\x05\x05\xff\xf0\xff\xfa\x2c\x05\x06\xff\xf0",
	} {
		synctest.Test(t, func(t *testing.T) {
			p, c := newPeer(t, says)
			_, err := io.ReadAll(c)
			if err = errors.Join(err, c.Break(t.Context())); err != nil || p.hears.String() != want {
				t.Errorf("after %q: %q, %v; want %q", says, p.hears.String(), err, want)
			}
		})
	}
	p, c := newPeer(t, "\xff\xfd\x2c")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := io.ReadAll(c)
	if err = errors.Join(err, c.Break(gone)); err != nil || !strings.HasSuffix(p.hears.String(), "\x05\x06\xff\xf0") {
		t.Errorf("who left keeps the line held: %q, %v", p.hears.String(), err)
	}
}

// A peer that begins without an end, or asks without end, is one that does not speak telnet.
func TestTelnetWithoutEnd(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]error{
		"\xff\xfa\x2c" + strings.Repeat("x", 10*longestSub):        errEndless,
		"\xff\xfa" + strings.Repeat("\xff\xff", 10*longestSub):     errEndless,
		strings.Repeat("\xff\xfd\x18", 10*answerBurst):             errLoop,
		strings.Repeat("\xff\xfb\x01\xff\xfc\x01", 10*answerBurst): errLoop,
		strings.Repeat("\xff\xfb\x00", 10*answerBurst):             nil,
	} {
		p, c := newPeer(t, says)
		c.answers.SetLimit(0) // in a moment as short as one can be
		line, err := io.ReadAll(c)
		if !errors.Is(err, want) || len(line) > 0 || p.hears.Len() > 3*answerBurst {
			t.Errorf("%.12q...: %q, and %d bytes of answers, %v; want %v", says, line, p.hears.Len(), err, want)
		}
	}
}

// FuzzTelnet has a peer say anything, in two pieces and in one.
func FuzzTelnet(f *testing.F) {
	f.Add([]byte(agrees+"login: \xff\xff\r\x00"), 3)
	f.Add([]byte("\xff\xfa\x2c\xff\xff\xff\xf0\r\x00\xff\xfd\x18\xff\xfe\x00"), 5)
	f.Fuzz(func(t *testing.T, says []byte, at int) {
		hear := func(pieces ...[]byte) (line, answers string, c *telnet, failed error) {
			p, c := newPeer(t)
			p.says = pieces
			b, err := io.ReadAll(c)
			return string(b), p.hears.String(), c, err
		}
		line, answers, c, err := hear(says)
		if len(line)+len(answers) > len(says) {
			t.Errorf("%q and %q came of %q", line, answers, says)
		}
		if at >= 0 && at < len(says) && err == nil {
			if again, same, _, err := hear(says[:at], says[at:]); again != line || same != answers || err != nil {
				t.Errorf("in pieces: %q, answered with %q, %v; want %q and %q", again, same, err, line, answers)
			}
		}
		// What is written in such a state, the one who agreed to the same reads as it was.
		p := c.Conn.(*peer)
		p.hears.Reset()
		if n, err := c.Write(says); n != len(says) || err != nil {
			t.Fatal(n, err)
		}
		_, other := newPeer(t, p.hears.String())
		other.theirs[binary] = c.ours[binary]
		if got, err := io.ReadAll(other); err != nil || !bytes.Equal(got, says) {
			t.Errorf("%q is read as %q, %v", says, got, err)
		}
	})
}

// Telnet goes over a connection like others, the mark that comes as urgent data, too. One who
// asks without end is left.
func TestTelnetServer(t *testing.T) {
	t.Parallel()
	server, target := terminalServer(t)
	target.Telnet = true
	d := newDesk(t, t.TempDir())
	d.again = time.Hour
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	d.Connect(mac, target)
	c := accepted(t, server)
	if _, err := io.WriteString(c, agrees+"login: "); err != nil {
		t.Fatal(err)
	}
	wants(t, bob, "login: ")
	receives(t, c, "\xff\xfb\x00\xff\xfd\x00\xff\xfb\x03\xff\xfd\x03\xff\xfb\x2c")
	types(t, bob, "root\r\xff")
	receives(t, c, "root\r\xff\xff")
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var marked error
	err = raw.Control(func(fd uintptr) { // which is the last byte of it
		marked = syscall.Sendto(int(fd), []byte("\xff\xf2"), syscall.MSG_OOB, nil)
	})
	_, failed := io.WriteString(c, "# ")
	if err := errors.Join(err, marked, failed); err != nil {
		t.Fatal(err)
	}
	wants(t, bob, "# ")
	if err := bob.Break(); err != nil {
		t.Fatal(err)
	}
	receives(t, c, "\xff\xfa\x2c\x05\x05\xff\xf0\xff\xfa\x2c\x05\x06\xff\xf0")
	_, _ = io.WriteString(c, strings.Repeat("\xff\xfd\x18", 10*answerBurst)) // which is not all taken
	until(t, "it is told that it does not speak telnet", func() bool {
		is, why := l.Plugged()
		return !is && why == errLoop.Error()
	})
}
