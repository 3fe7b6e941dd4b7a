package sshd

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// pour sends input in small packets until the session ends or takes no more, and
// tells when it ended.
func (z *lazy) pour() <-chan error {
	ended := make(chan error, 1)
	go func() { // ends with the channel
		p := make([]byte, 1<<10)
		for {
			if _, err := z.Write(p); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// When input that no command reads takes too much memory, the session ends that has
// waited longest. It used to stay, with 2 MiB and more, for as long as the command.
func TestUnreadInput(t *testing.T) {
	inBubble(t, func(s *Server) { s.backlog.most, s.backlog.grace = 3<<20, 10*time.Millisecond }, func(t *testing.T, l *lab) {
		one := l.lazy(t, l.login(t, "alice"), "wait one")
		ended := one.pour()
		l.stuck(t, 1)
		two := l.lazy(t, l.login(t, "bob"), "wait two")
		two.pour()
		expectEvent(t, l, "cancelled one")
		l.log.expect(t, "waited longest are ended\" user=alice")
		if status := <-one.status; status != 130 {
			t.Errorf("status %d", status)
		}
		<-ended // what came after it was dropped, else the client would not see the end
		l.stuck(t, 1)
		select {
		case e := <-l.run.events:
			t.Error(e)
		default:
		}
	})
}

// Bytes that come through a connection to a command that reads them are not counted
// for another on it that does not.
func TestReadInputIsNotCounted(t *testing.T) {
	inBubble(t, func(s *Server) { s.backlog.most, s.backlog.grace = 6<<20, 10*time.Millisecond }, func(t *testing.T, l *lab) {
		c := l.login(t, "alice")
		l.lazy(t, c, "wait one").pour()
		l.stuck(t, 1)
		cat := l.lazy(t, c, "cat")
		go func() {
			for p := make([]byte, 1<<20); len(p) > 0; p = p[1<<16:] {
				for range 16 {
					_, _ = cat.Write(p[:1<<16])
				}
			}
			_ = cat.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, cat); n != 16<<20 || err != nil {
			t.Errorf("%d bytes came back: %v", n, err)
		}
		select {
		case e := <-l.run.events:
			t.Error(e)
		default:
		}
	})
}

// A channel on which nothing was begun counts, too.
func TestUnreadInputOfNothing(t *testing.T) {
	inBubble(t, func(s *Server) { s.backlog.most, s.backlog.grace = 3<<20, 10*time.Millisecond }, func(t *testing.T, l *lab) {
		open := func(user string) *lazy {
			ch, _, err := l.login(t, user).OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			return &lazy{Channel: ch}
		}
		ended := open("alice").pour()
		l.stuck(t, 1)
		l.lazy(t, l.login(t, "bob"), "wait").pour()
		select {
		case <-ended:
		case <-time.After(soon):
			t.Error("the channel stays")
		}
	})
}

// Nothing is defined for what a client sends on a second stream: it is dropped, and
// takes neither memory nor the place of the input.
func TestSecondStreamOfInput(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	z := l.lazy(t, l.login(t, "alice"), "cat")
	done := make(chan error, 1)
	go func() { // ends with the channel
		for range 5 << 5 {
			if _, err := z.Stderr().Write(make([]byte, 32<<10)); err != nil {
				done <- err
				return
			}
		}
		_, err := io.WriteString(z, "input")
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(soon):
		t.Fatal("the second stream fills the window")
	}
	p := make([]byte, 5)
	if _, err := io.ReadFull(z, p); err != nil || string(p) != "input" {
		t.Errorf("%q came back: %v", p, err)
	}
}

// When a session has ended, a client that goes on sending is not kept waiting, and
// nothing of that is kept.
func TestInputAfterTheEnd(t *testing.T) {
	t.Parallel()
	in := newInflow(&conn{srv: &Server{backlog: newBacklog()}}, "alice", nil)
	r, w := io.Pipe()
	pumped := make(chan struct{})
	go func() {
		in.pump(r)
		close(pumped)
	}()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, strings.NewReader(strings.Repeat("x", 8*maxKept)))
		w.Close()
		sent <- err
	}()
	eventually(t, in.conn.stuck.any.Load, func() string { return "the client need not wait" })
	in.discard()
	if err := <-sent; err != nil {
		t.Error(err)
	}
	<-pumped
	if in.kept.Len() > 0 || in.conn.stuck.any.Load() || in.conn.srv.backlog.bytes != 0 {
		t.Errorf("%d bytes are kept, %d are counted", in.kept.Len(), in.conn.srv.backlog.bytes)
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d: %v", n, err)
	}
}

// All that came before the end of the input is read before that.
func TestInputEnds(t *testing.T) {
	t.Parallel()
	in := newInflow(&conn{srv: &Server{backlog: newBacklog()}}, "alice", nil)
	want := bytes.Repeat([]byte("0123456789"), maxKept)
	go in.pump(bytes.NewReader(want))
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes were read: %v", len(got), len(want), err)
	}
}
