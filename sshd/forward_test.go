package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/fault"
)

// fakeNodes has a node that is up, n1, and others that are not reached.
type fakeNodes struct {
	booted chan struct{} // when the node boots is up

	mu   sync.Mutex
	ends []*wire // of the node, in the order of their opening
}

// wire is one side of a connection in memory.
type wire struct {
	*io.PipeReader
	to *io.PipeWriter
}

func newWire() (here, there *wire) {
	a, toA := io.Pipe()
	b, toB := io.Pipe()
	return &wire{a, toB}, &wire{b, toA}
}

func (w *wire) Write(p []byte) (int, error) { return w.to.Write(p) }
func (w *wire) CloseWrite() error           { return w.to.Close() }
func (w *wire) Close() error                { return errors.Join(w.to.Close(), w.PipeReader.Close()) }

func (f *fakeNodes) Forward(ctx context.Context, user auth.Name, host string, port uint32) (io.ReadWriteCloser, bool, error) {
	switch {
	case host == "boots":
		select {
		case <-f.booted:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	case host == "broken":
		return nil, false, errors.New("secret")
	case host != "n1":
		return nil, false, fault.Failedf("%q is no node\x1b of %s", host, user).WithHint("see all nodes with: node show --all\nand more")
	}
	here, there := newWire()
	switch port {
	case 7: // sends back what comes
		go func() {
			_, _ = io.Copy(there, there)
			there.Close()
		}()
	case 37: // answers once all was said
		go func() {
			all, _ := io.ReadAll(there)
			_, _ = there.Write(append([]byte("heard "), all...))
			there.Close()
		}()
	case 19: // says more than anybody reads
		go func() {
			for err := error(nil); err == nil; {
				_, err = there.Write(make([]byte, floodSize))
			}
		}()
	case 20: // reads all and says nothing
		go func() {
			_, _ = io.Copy(io.Discard, there)
			there.Close()
		}()
	case 9: // reads nothing
	default:
		return nil, true, fault.Failedf("port %d of %s: connection refused", port, host)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = append(f.ends, there)
	return here, true, nil
}

// end is a node's end of a connection.
func (f *fakeNodes) end(i int) *wire {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ends[i]
}

// reach opens a forward; why it is refused is the error.
func reach(c *gossh.Client, host string, port uint32) (gossh.Channel, error) {
	ch, requests, err := c.OpenChannel("direct-tcpip", gossh.Marshal(struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}{host, port, "127.0.0.1", 1}))
	if err == nil {
		go gossh.DiscardRequests(requests)
	}
	return ch, err
}

func mustReach(t *testing.T, c *gossh.Client, port uint32) gossh.Channel {
	t.Helper()
	ch, err := reach(c, "n1", port)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// says sends a text to a node that sends it back.
func says(t *testing.T, ch gossh.Channel, text string) {
	t.Helper()
	if _, err := io.WriteString(ch, text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(ch, back); err != nil || string(back) != text {
		t.Fatalf("got %q, %v", back, err)
	}
}

// closes fails the test unless the channel is closed, with everything read.
func closes(t *testing.T, ch gossh.Channel) (rest string) {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(ch)
		got <- string(all)
	}()
	select {
	case rest = <-got:
	case <-time.After(soon):
		t.Fatal("the channel stays open")
	}
	return rest
}

func (l *lab) forwardsNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.forwards.all)
}

// none waits until no forward is left.
func (l *lab) none(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return l.forwardsNow() == 0 }, func() string { return "forwards stay" })
}

func TestForward(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	one, two := mustReach(t, c, 7), mustReach(t, c, 7)
	says(t, one, "one")
	says(t, two, strings.Repeat("two", 100_000)) // what fits into the windows
	one.Close()
	says(t, two, "goes on")
	two.Close()
	l.none(t)
}

// Who said all still hears the answer; then the channel is closed from both sides.
func TestForwardHalfClosed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	ch := mustReach(t, c, 37)
	if _, err := io.WriteString(ch, "all"); err != nil {
		t.Fatal(err)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := closes(t, ch); got != "heard all" {
		t.Errorf("the answer is %q", got)
	}
	l.none(t)

	// A node that said all still hears the client.
	ch = mustReach(t, c, 9)
	node := l.nodes.(*fakeNodes).end(1)
	if err := node.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	closes(t, ch)
	if _, err := io.WriteString(ch, "still"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(node, got); err != nil || string(got) != "still" {
		t.Errorf("the node hears %q, %v", got, err)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(node); err != nil || len(rest) > 0 {
		t.Errorf("the node hears %q, %v", rest, err)
	}
	l.none(t)
}

// A client of which nobody reads any more, as a browser that ends a download, says so:
// what the node goes on saying ends, once the client has said all, too.
func TestForwardThatNobodyReads(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch := mustReach(t, l.login(t, "alice"), 19)
	if _, err := io.ReadFull(ch, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.SendRequest("eow@openssh.com", false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(ch, "more"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(l.nodes.(*fakeNodes).end(0), got); err != nil || string(got) != "more" {
		t.Errorf("the node hears %q, %v", got, err)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	closes(t, ch)
	l.none(t)
}

// A refusal says why, on one line that steers no terminal.
func TestForwardRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "bob")
	for _, test := range []struct {
		host   string
		port   uint32
		reason gossh.RejectionReason
		want   string
	}{
		{"localhost", 22, gossh.Prohibited, `"localhost" is no node? of bob; see all nodes with: node show --all; and more`},
		{"n1", 80, gossh.ConnectionFailed, "port 80 of n1: connection refused"},
		{"broken", 80, gossh.Prohibited, "internal error"},
		{strings.Repeat("n", 100_000), 80, gossh.Prohibited, `"` + strings.Repeat("n", 499)},
	} {
		_, err := reach(c, test.host, test.port)
		why, is := errors.AsType[*gossh.OpenChannelError](err)
		if !is || why.Reason != test.reason || why.Message != test.want {
			t.Errorf("%.20s: %v, want %v: %s", test.host, err, test.reason, test.want)
		}
	}
	l.log.expect(t, "err=secret")
	for _, payload := range []string{"", "\x00\x00\x00\x02n1", "\xff\xff\xff\xffn1\x00\x00\x00\x16"} {
		if _, _, err := c.OpenChannel("direct-tcpip", []byte(payload)); err == nil || !strings.Contains(err.Error(), "malformed request") {
			t.Errorf("%q: %v", payload, err)
		}
	}
	says(t, mustReach(t, c, 7), "the connection is of use still")
}

// A key that permits none has none.
func TestForwardTakenAway(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, login := range map[string]auth.Login{
		"restricted": {User: "alice", NoForwarding: true, Restricted: true},
		"forced":     {User: "alice", NoForwarding: true, Restricted: true, Command: "echo x"},
	} {
		l.key[name] = newKey(t)
		l.users.allow(l.key[name], login)
		_, err := reach(l.login(t, name), "n1", 7)
		if why, is := errors.AsType[*gossh.OpenChannelError](err); !is || why.Reason != gossh.Prohibited || why.Message != "your key does not permit forwards" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who waits for a node that boots keeps nothing else of the connection waiting, and stops
// with it.
func TestForwardWaitsAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	opened := make(chan gossh.Channel)
	for range 20 {
		go func() {
			ch, err := reach(c, "boots", 7)
			if err != nil {
				t.Error(err)
			}
			opened <- ch
		}()
	}
	eventually(t, func() bool { return l.forwardsNow() == 20 }, func() string { return "they do not wait" })
	says(t, mustReach(t, c, 7), "another")
	if status := start(t, c, false, "echo x").status(); status != 0 {
		t.Errorf("status %d", status)
	}
	close(l.nodes.(*fakeNodes).booted)
	for range 20 {
		says(t, <-opened, "up")
	}
	c.Close()
	l.none(t)
}

func TestForwardGivenUp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	ended := make(chan error, 1)
	go func() {
		_, err := reach(c, "boots", 7)
		ended <- err
	}()
	eventually(t, func() bool { return l.forwardsNow() == 1 }, func() string { return "it does not wait" })
	c.Close()
	if err := <-ended; err == nil {
		t.Error("it is open")
	}
	l.none(t)
}

// A user has 256 forwards, over whatever number of connections, and sessions beside.
func TestForwardsOfAUser(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(s *Server) { s.setFiles(100_000) })
	first, second := l.login(t, "alice"), l.login(t, "alice")
	var last gossh.Channel
	for i := range maxForwards {
		last = mustReach(t, []*gossh.Client{first, second}[i%2], 7)
	}
	for _, c := range []*gossh.Client{first, second} {
		_, err := reach(c, "n1", 7)
		if why, is := errors.AsType[*gossh.OpenChannelError](err); !is || why.Reason != gossh.ResourceShortage || why.Message != "you have too many forwards open: close some" {
			t.Errorf("one more: %v", err)
		}
		if status := start(t, c, false, "echo x").status(); status != 0 {
			t.Errorf("a session: status %d", status)
		}
	}
	says(t, mustReach(t, l.login(t, "bob"), 7), "bob has his own")
	last.Close()
	eventually(t, func() bool { return l.forwardsNow() == maxForwards }, func() string { return "none is given back" })
	says(t, mustReach(t, first, 7), "again")
}

// All of them take no more than a part of the files that the server may have open.
func TestForwardsOfAll(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(s *Server) { s.setFiles(100); s.logins.most = 25 })
	c := l.login(t, "alice")
	for range 100 / 8 {
		mustReach(t, c, 7)
	}
	if _, err := reach(l.login(t, "bob"), "n1", 7); err == nil || !strings.Contains(err.Error(), "the server has too many forwards open") {
		t.Error(err)
	}
}

// Who reads nothing has the other side wait, and costs little: when all of them take too
// much, the one ends that waited longest.
func TestForwardOfWhoReadsNothing(t *testing.T) {
	inBubble(t, func(s *Server) {
		s.backlog.most, s.backlog.grace = 2<<20+perWrite, 10*time.Millisecond
	}, func(t *testing.T, l *lab) {
		nodes := l.nodes.(*fakeNodes)
		c := l.login(t, "alice")
		one := mustReach(t, c, 19) // the client does not read
		l.stuck(t, 1)
		two := mustReach(t, c, 9) // the node does not
		full := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = two.Write(make([]byte, floodSize))
			}
			full <- err
		}()
		l.log.expect(t, "too much waits for clients that do not read: the forward that waited longest is ended\" user=alice")
		if _, err := nodes.end(0).Write([]byte("x")); err == nil {
			t.Error("the node's end is open")
		}
		if got := closes(t, one); len(got) > 3<<20 {
			t.Errorf("%d bytes were kept for the client", len(got))
		}
		l.stuck(t, 1) // the other one waits on
		got := make([]byte, floodSize)
		if _, err := io.ReadFull(nodes.end(1), got); err != nil || !bytes.Equal(got, make([]byte, floodSize)) {
			t.Errorf("what the node reads at last: %v", err)
		}
		nodes.end(1).Close()
		if err := <-full; err == nil {
			t.Error("the client's side is open")
		}
		l.none(t)
	})
}

// What ends the right to a node ends the forward, and nothing else of the connection.
func TestForwardEndsByItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	one, two := mustReach(t, c, 9), mustReach(t, c, 7)
	l.nodes.(*fakeNodes).end(0).Close()
	closes(t, one)
	eventually(t, func() bool {
		_, err := one.Write([]byte("x"))
		return err != nil
	}, func() string { return "it takes input" })
	says(t, two, "goes on")
}

// The forwards of a key that is removed end at once, those that wait for their node, too.
func TestForwardEndsWithItsKey(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c, bob := l.login(t, "alice"), l.login(t, "bob")
		ch, other := mustReach(t, c, 7), mustReach(t, bob, 7)
		waits := make(chan error, 1)
		go func() {
			_, err := reach(c, "boots", 7)
			waits <- err
		}()
		eventually(t, func() bool { return l.forwardsNow() == 3 }, func() string { return "it does not wait" })
		begun := time.Now()
		l.Cut("alice", "SHA256:of-another-key")
		says(t, ch, "for another key")
		l.Cut("alice", l.key["alice"].PublicKey().Type()) // nor this
		l.Cut("alice", gossh.FingerprintSHA256(l.key["alice"].PublicKey()))
		closes(t, ch)
		if err := <-waits; err == nil {
			t.Error("a forward was opened")
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("after %v", took)
		}
		says(t, other, "bob goes on")
		_ = c.Wait()
	})
}

// The forwards of a client whose cable was pulled end though they have nothing to say.
func TestForwardOfWhoVanished(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c, cable := l.cable(t)
		ch := mustReach(t, c, 7)
		time.Sleep(3 * l.keepAlive)
		says(t, ch, "while it answers, it goes on")
		close(cable.cut)
		time.Sleep(3 * l.keepAlive)
		l.none(t)
	})
}

// A client that asks for channels without an end, and takes no answer, loses its connection;
// until then it costs little.
func TestRefusalsThatNobodyTakes(t *testing.T) {
	for _, kind := range []string{"session", "x11"} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				c, cable := l.cable(t)
				close(cable.stall)
				for range maxRefusing + 2*maxSessions {
					go c.OpenChannel(kind, nil) // ends with the connection
				}
				l.log.expect(t, "a client that takes no answers asks for more and more channels: its connection is closed\" user=alice")
				eventually(t, func() bool {
					l.mu.Lock()
					defer l.mu.Unlock()
					return len(l.conns) == 0
				}, func() string { return "it is still connected" })
			})
		})
	}
}

// A server that stops waits for commands, during which forwards go on, and not for
// forwards.
func TestForwardsAndShutdown(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c, other := l.login(t, "alice"), l.login(t, "bob")
		ch := mustReach(t, c, 7)
		command := start(t, other, false, "cat")
		command.send("begun\n")
		command.out.expect(t, "begun")
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- l.Shutdown(context.Background()) }()
		time.Sleep(5 * time.Second)
		says(t, ch, "goes on")
		if _, err := reach(c, "n1", 7); err == nil || !strings.Contains(err.Error(), "the server is shutting down") {
			t.Errorf("a new one: %v", err)
		}
		command.in.Close()
		if status := command.status(); status != 0 {
			t.Errorf("status %d", status)
		}
		_ = other.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		closes(t, ch)
	})
}
