package reach

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
	"walt/state/badger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is nodes that send back what they get, on all ports but 81.
type lab struct {
	*Doors
	ends map[nodes.Name]context.CancelCauseFunc // the right to the node of who entered last
	left atomic.Int32
}

// stay is a way that the test ends.
type stay struct {
	lab   *lab
	ctx   context.Context
	owner auth.Name // of the node
}

func (s stay) Context() context.Context { return s.ctx }
func (s stay) Leave()                   { s.lab.left.Add(1) }
func (s stay) Owner() auth.Name         { return s.owner }

func (s stay) Dial(_ context.Context, port int) (net.Conn, error) {
	if port == 81 {
		return nil, fault.Failedf("nothing there")
	}
	here, there := net.Pipe()
	go func() {
		_, _ = io.Copy(there, there)
		there.Close()
	}()
	return here, nil
}

func newLab(t testing.TB) *lab {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	l := &lab{ends: map[nodes.Name]context.CancelCauseFunc{}}
	l.Doors = New(Config{
		Store: store, Journal: journal.New(store, time.Now), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Online: func(u auth.Name) bool { return u == "bob" },
		Enter: func(ctx context.Context, user auth.Name, n nodes.Name, wait time.Duration) (Way, error) {
			if n == "n9" || wait != 30*time.Second {
				return nil, fault.Failedf("%s may not for %v", user, wait)
			}
			s := stay{lab: l}
			s.ctx, l.ends[n] = context.WithCancelCause(ctx)
			return s, nil
		},
	})
	return l
}

// told is what the log was told of nodes that were reached.
func (l *lab) told(t *testing.T) (all []string) {
	t.Helper()
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		all = append(all, fmt.Sprintf("%s %s %s: %s (%d)", e.Type, e.Actor, e.Node, e.Detail, e.Count))
		return nil
	})))
	return all
}

// still has no time pass for what the log tells, however long the machine takes.
func (l *lab) still() *lab {
	now := time.Now()
	l.trail.now = func() time.Time { return now }
	return l
}

func (l *lab) open(t *testing.T, user auth.Name, host string, port uint32) io.ReadWriteCloser {
	t.Helper()
	conn, _, err := l.Forward(t.Context(), user, host, port)
	ok(t, err)
	return conn
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	l := newLab(t).still()
	conn := l.open(t, "bob", "n1", 80)
	go io.WriteString(conn, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	ok(t, conn.Close())
	_ = conn.Close()
	if l.left.Load() != 1 {
		t.Errorf("left %d times", l.left.Load())
	}
	for host, admits := range map[string]bool{"n9": false, "n1": true} {
		_, admitted, err := l.Forward(t.Context(), "bob", host, 81)
		if fault.As(err) == nil || admitted != admits {
			t.Errorf("%s: %v, %v", host, admitted, err)
		}
	}
	if l.left.Load() != 2 {
		t.Errorf("who found nothing stays")
	}
	l.Close()
	equal(t, l.told(t), "reach bob n1: port 80, for 0s (1)")
}

// A connection ends with the right to its node, and the log tells why, as do the shells
// that the user has open.
func TestForwardIsCut(t *testing.T) {
	t.Parallel()
	l := newLab(t).still()
	for _, user := range []auth.Name{"bob", "carol"} {
		conn := l.open(t, user, "n1", 22)
		l.ends["n1"](fault.Failedf("n1 changed hands"))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("it goes on")
		}
		_ = conn.Close()
	}
	l.trail.notes.Wait()
	equal(t, l.told(t), "reach bob n1: port 22, for 0s; cut: n1 changed hands (1)", "reach carol n1: port 22, for 0s; cut: n1 changed hands (1)")
	for user, want := range map[string][]string{"bob": {"what you had open to port 22 of n1 was cut: n1 changed hands"}, "carol": nil} {
		texts, err := l.Journal.Unseen(t.Context(), user)
		ok(t, err)
		if !slices.Equal(texts, want) {
			t.Errorf("%s is told %q", user, texts)
		}
	}
}

// A client that goes, and its connection with it, is cut by nobody.
func TestClientGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t).still()
	ctx, goes := context.WithCancel(t.Context())
	conn, _, err := l.Forward(ctx, "bob", "n1", 22)
	ok(t, err)
	goes()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it goes on")
	}
	ok(t, conn.Close())
	l.Close()
	equal(t, l.told(t), "reach bob n1: port 22, for 0s (1)")
}

// Connections to one port are one event, until nothing was open for a minute; those to
// other ports, nodes and of others are others.
func TestForwardsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		for range 25 { // a browser
			conn := l.open(t, "bob", "n1", 80)
			time.Sleep(10 * time.Second)
			ok(t, conn.Close())
			time.Sleep(quiet - time.Second)
		}
		long := l.open(t, "bob", "n1", 22)
		ok(t, l.open(t, "carol", "n1", 80).Close())
		ok(t, l.open(t, "bob", "n2", 80).Close())
		equal(t, l.told(t))
		time.Sleep(quiet + time.Second)
		synctest.Wait()
		equal(t, l.told(t), "reach bob n1: port 80, for 27m46s, 25 times (25)", "reach bob n2: port 80, for 0s (1)", "reach carol n1: port 80, for 0s (1)")
		ok(t, l.open(t, "bob", "n1", 80).Close()) // begins anew
		time.Sleep(time.Hour)
		ok(t, long.Close())
		again := l.open(t, "bob", "n1", 22)
		ok(t, again.Close())
		l.Close()
		equal(t, l.told(t)[3:], "reach bob n1: port 22, for 1h1m1s, 2 times (2)", "reach bob n1: port 80, for 0s (1)")
		if len(l.trail.all) > 0 || len(l.trail.ports) > 0 {
			t.Errorf("kept are %v, %v", l.trail.all, l.trail.ports)
		}
	})
}

// Who tries port after port gets no line for each.
func TestManyPortsAreLoggedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { manyPorts(t, newLab(t)) })
}

func manyPorts(t *testing.T, l *lab) {
	for port := uint32(1000); port < 3000; port++ {
		ok(t, l.open(t, "bob", "n1", port).Close())
	}
	l.Close()
	told := l.told(t)
	if len(told) != mostPorts+1 || !slices.Contains(told, fmt.Sprintf("reach bob n1: other ports, for 0s, %d times (%d)", 2000-mostPorts, 2000-mostPorts)) {
		t.Errorf("told %q", told)
	}
	if len(l.trail.all) > 0 || len(l.trail.ports) > 0 {
		t.Errorf("kept are %v, %v", l.trail.all, l.trail.ports)
	}
}

// What ends only after the server's last word is told all the same.
func TestForwardThatEndsLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	conn := l.open(t, "bob", "n1", 22)
	l.Close()
	ok(t, conn.Close())
	l.trail.notes.Wait()
	equal(t, l.told(t), "reach bob n1: port 22, for 0s (1)")
}
