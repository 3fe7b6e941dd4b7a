package reach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/nodes"
	"walt/state"
)

// soon is how long a test waits for what must happen, on a busy machine.
const soon = time.Minute

// exposing is doors with one node, at a free port of loopback.
type exposing struct {
	*lab
	port  int
	mu    sync.Mutex
	all   []nodes.Exposure
	owner auth.Name // of the node
}

func newExposing(t *testing.T) *exposing {
	t.Helper()
	x := &exposing{lab: newLab(t), owner: "bob"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	x.port = l.Addr().(*net.TCPAddr).Port
	ok(t, l.Close())
	x.Host, x.Own = "127.0.0.1", 1
	x.Exposures = func(context.Context) ([]nodes.Exposure, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		return slices.Clone(x.all), nil
	}
	x.Enter = func(ctx context.Context, user auth.Name, n nodes.Name, wait time.Duration) (Way, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if user != "bob" || n != "n1" || wait != 0 {
			return nil, fault.Failedf("%s may not", user)
		}
		s := stay{lab: x.lab, owner: x.owner}
		s.ctx, x.ends[n] = context.WithCancelCause(ctx)
		return s, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		ok(t, <-ended)
		if _, err := x.dial(); err == nil {
			t.Error("it is open after the end")
		}
	})
	return x
}

// set changes what is exposed.
func (x *exposing) set(t *testing.T, owner auth.Name, up bool) {
	t.Helper()
	x.mu.Lock()
	x.all = nil
	if owner != "" {
		x.all = []nodes.Exposure{{Exposed: nodes.Exposed{Port: x.port, To: 80}, Node: "n1", Owner: owner, Up: up}}
	}
	wanted := slices.Clone(x.all)
	x.mu.Unlock()
	_, err := x.Store.Update(t.Context(), func(tx state.Tx) error {
		return tx.Put(nodes.ExposedRows(), []byte(strconv.FormatInt(time.Now().UnixNano(), 10)))
	})
	ok(t, err)
	for end := time.Now().Add(soon); !x.has(wanted); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what is exposed is not heeded")
		}
	}
}

// has reports whether the ports are open, or known to be taken, and no others.
func (x *exposing) has(wanted []nodes.Exposure) bool {
	x.gates.mu.Lock()
	defer x.gates.mu.Unlock()
	wanted = slices.DeleteFunc(wanted, func(e nodes.Exposure) bool { return !e.Up })
	for _, e := range wanted {
		if g := x.gates.open[e.Port]; x.gates.wrong[e.Port] == "" && (g == nil || g.Exposure != e) {
			return false
		}
	}
	return len(x.gates.open)+len(x.gates.wrong) == len(wanted)
}

func (x *exposing) dial() (net.Conn, error) {
	return net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(x.port)))
}

// come connects, and says something that comes back.
func (x *exposing) come(t *testing.T) net.Conn {
	t.Helper()
	c, err := x.dial()
	ok(t, err)
	t.Cleanup(func() { c.Close() })
	ok(t, c.SetDeadline(time.Now().Add(soon)))
	_, err = io.WriteString(c, "hello")
	ok(t, err)
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q comes back: %v", got, err)
	}
	return c
}

// ends fails the test unless a connection ends.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	ok(t, c.SetDeadline(time.Now().Add(soon)))
	_, err := io.Copy(io.Discard, c)
	if slow, is := errors.AsType[net.Error](err); is && slow.Timeout() {
		t.Error("the connection stays")
	}
}

// A port is open while its node is up and somebody's, and what came by it ends with that.
func TestExpose(t *testing.T) {
	t.Parallel()
	x := newExposing(t)
	if _, err := x.dial(); err == nil {
		t.Error("it is open before")
	}
	x.set(t, "bob", true)
	one := x.come(t)
	x.set(t, "bob", true) // which changes nothing
	two := x.come(t)
	x.mu.Lock()
	x.ends["n1"](fault.Failedf("n1 changed hands")) // who came last
	x.mu.Unlock()
	ends(t, two)
	_, err := io.WriteString(one, "still")
	ok(t, err)
	got := make([]byte, 5)
	if _, err := io.ReadFull(one, got); err != nil || string(got) != "still" {
		t.Errorf("the other one: %q, %v", got, err)
	}
	x.set(t, "bob", false) // off
	ends(t, one)
	if _, err := x.dial(); err == nil {
		t.Error("it is open while the node is off")
	}
	x.set(t, "carol", true) // who does not get in
	c, err := x.dial()
	ok(t, err)
	ends(t, c)
	c.Close()
	x.set(t, "", false)
	if _, err := x.dial(); err == nil {
		t.Error("it is open for nobody")
	}
	x.Close()
	told := x.told(t)
	if len(told) != 1 || !strings.HasPrefix(told[0], fmt.Sprintf("reach server n1: port 80 by port %d of the server, from 127.0.0.1, for ", x.port)) || !strings.HasSuffix(told[0], ", 2 times; cut: n1 changed hands (2)") {
		t.Errorf("the log tells %q", told)
	}
}

// Those who come to a port are one event, with the first of the addresses they come from,
// until nobody was there for a minute, and for an hour at most.
func TestExposedAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := nodes.Exposure{Exposed: nodes.Exposed{Port: 8080, To: 80}, Node: "n1", Owner: "bob", Up: true}
		stays := l.trail.exposed(e, "192.0.2.1")
		for i := range 63 { // the last ones after an hour
			l.trail.exposed(e, "192.0.2.2")(nil)
			l.trail.exposed(e, fmt.Sprintf("192.0.2.%d", 3+i/20))(nil)
			time.Sleep(quiet - time.Second)
		}
		equal(t, l.told(t))
		stays(nil)
		synctest.Wait()
		first := "reach server n1: port 80 by port 8080 of the server, from 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, 192.0.2.6, for 1h1m57s, 125 times (125)"
		equal(t, l.told(t), first)
		time.Sleep(quiet)
		synctest.Wait()
		second := "reach server n1: port 80 by port 8080 of the server, from 192.0.2.2, 192.0.2.6, for 0s, 2 times (2)"
		equal(t, l.told(t), first, second)
		for i := range 2 * mostSources {
			l.trail.exposed(e, fmt.Sprintf("2001:db8::%d", i))(nil)
		}
		l.Close()
		equal(t, l.told(t), first, second,
			"reach server n1: port 80 by port 8080 of the server, from 2001:db8::0, 2001:db8::1, 2001:db8::2, 2001:db8::3, 2001:db8::4, 2001:db8::5, 2001:db8::6, 2001:db8::7 and others, for 0s, 16 times (16)")
		if len(l.trail.all) > 0 || len(l.trail.ports) > 0 {
			t.Errorf("kept are %v, %v", l.trail.all, l.trail.ports)
		}
	})
}

// Who had the node and may use it still, as it is free, or shared by who has it now, exposes it
// no more, also before the port is closed.
func TestExposedByWhoHadIt(t *testing.T) {
	t.Parallel()
	x := newExposing(t)
	x.set(t, "bob", true)
	x.come(t)
	for _, owner := range []auth.Name{auth.Nobody, "alice"} {
		x.mu.Lock()
		x.owner = owner
		x.mu.Unlock()
		c, err := x.dial()
		ok(t, err)
		ends(t, c)
		c.Close()
	}
}

// What another program has is not taken over, and said; it is opened when that ends.
func TestExposeTaken(t *testing.T) {
	t.Parallel()
	x := newExposing(t)
	ok(t, x.Free(x.port))
	other, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(x.port)))
	ok(t, err)
	if err := fault.As(x.Free(x.port)); err == nil || err.Msg != "port "+strconv.Itoa(x.port)+" of the server is taken by another program; nothing changed" {
		t.Errorf("it is free: %v", err)
	}
	if err := fault.As(x.Free(1)); err == nil || err.Msg != "port 1 of the server is its own, for SSH; nothing changed" {
		t.Errorf("its own: %v", err)
	}
	x.set(t, "bob", true)
	if why := x.Wrong(x.port); why != "taken by another program" {
		t.Errorf("it is wrong that %q", why)
	}
	ok(t, other.Close())
	for end := time.Now().Add(soon); x.Wrong(x.port) != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is wrong that %q", x.Wrong(x.port))
		}
	}
	x.come(t)
	ok(t, x.Free(x.port)) // it is the server that has it
}

// A port has so many connections at once, and all of them together, and more later.
func TestExposeIsBounded(t *testing.T) {
	t.Parallel()
	x := newExposing(t)
	x.set(t, "bob", true)
	var all []net.Conn
	for range mostVisitors {
		all = append(all, x.come(t))
	}
	one, err := x.dial()
	ok(t, err)
	ends(t, one)
	one.Close()
	ok(t, all[0].Close())
	x.isFree(t)

	others := int32(mostOfAll - mostVisitors + 1) // of other ports
	x.gates.visitors.Add(others)
	one, err = x.dial()
	ok(t, err)
	ends(t, one)
	one.Close()
	x.gates.visitors.Add(-others)
	x.isFree(t)
}

// isFree returns when who comes is served.
func (x *exposing) isFree(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		c, err := x.dial()
		ok(t, err)
		_, _ = c.Write([]byte("x"))
		ok(t, c.SetDeadline(time.Now().Add(soon)))
		got := make([]byte, 1)
		_, err = c.Read(got)
		c.Close()
		if err == nil && bytes.Equal(got, []byte("x")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no place is given back: %v", err)
		}
	}
}
