package nodes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
)

// dialed is the way to nodes, which notes what was dialed.
type dialed struct {
	addrs []string
	err   error
}

func (d *dialed) dial(_ context.Context, _, addr string) (net.Conn, error) {
	d.addrs = append(d.addrs, addr)
	if d.err != nil {
		return nil, d.err
	}
	here, there := net.Pipe()
	there.Close()
	return here, nil
}

// upAt has a physical node come up at an address.
func (l testLab) upAt(t testing.TB, n Name, addr string) {
	t.Helper()
	_, err := l.Boot(t.Context(), n)
	ok(t, err)
	l.Up(n, addr)
}

// reach begins a stay that ends with the test.
func (l testLab) reach(t *testing.T, user auth.Name, n Name) *Way {
	t.Helper()
	w, err := l.Reach(t.Context(), user, n, consent.Agreement{}, 0)
	ok(t, err)
	t.Cleanup(w.Leave)
	return w
}

// overWith is why a stay ended, which it has to within a minute.
func overWith(t *testing.T, w *Way) error {
	t.Helper()
	select {
	case <-w.Context().Done():
		return context.Cause(w.Context())
	case <-time.After(time.Minute):
		t.Fatal("the stay goes on")
		return nil
	}
}

// One's own nodes are reached, free ones, and those that are shared; nobody else's, unless
// the user agreed to that.
func TestReachWhose(t *testing.T) {
	t.Parallel()
	l := newTeam(t) // n1 is bob's, n2 carol's, n3 free
	l.user(t, "dave")
	for _, n := range []Name{"n1", "n2", "n3"} {
		l.upAt(t, n, "10.9.0.1:22")
	}
	ok(t, errorOf(l.Share(t.Context(), "carol", Only("n2"), []auth.Name{"dave"})))
	for user, may := range map[auth.Name][]Name{"bob": {"n1", "n3"}, "carol": {"n2", "n3"}, "dave": {"n2", "n3"}, "alice": {"n3"}} {
		for _, n := range []Name{"n1", "n2", "n3"} {
			w, err := l.Reach(t.Context(), user, n, consent.Agreement{}, 0)
			may := len(may) > 0 && (may[0] == n || may[len(may)-1] == n)
			if may != (err == nil) {
				t.Errorf("%s reaches %s: %v", user, n, err)
			}
			if !may {
				owner := map[Name]string{"n1": "bob", "n2": "carol"}[n]
				wantFault(t, err, fault.Failed, string(n)+" is owned by "+owner+", who does not share it with you", "node ask "+string(n))
				continue
			}
			if w.Node.Name != n || w.Node.State != Up || !l.visitors.Any(string(n)) {
				t.Errorf("it is %+v", w.Node)
			}
			w.Leave()
			if l.visitors.Any(string(n)) || l.guests.Any(string(n)) {
				t.Errorf("%s did not leave %s", user, n)
			}
		}
	}
	w, err := l.Reach(t.Context(), "alice", "n1", consent.Agreement{Whoever: true}, 0)
	ok(t, err)
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), nil))) // which does not end what was agreed to
	if err := w.Context().Err(); err != nil {
		t.Error(err)
	}
	w.Leave()
}

// Only nodes are reached, by their own names.
func TestReachNames(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.addSwitch(t, "sw-1", "10.9.0.9")
	for n, want := range map[Name]string{
		"n1.": `"n1." is no node`, "N1": `"N1" is no node`, "n1.lab": "is no node", "": "is no node", "10.9.0.1": "is no node", "::1": "is no node",
		"localhost": "unknown device localhost", "server": "is no node", "my-nodes": "is no node", "n1,n2": "is no node", "n*": "is no node",
		"169.254.169.254": "is no node", "n1\x00": "is no node", "../n1": "is no node", "n1%lo": "is no node", "sw-1": "sw-1 is not a node", "n9": "unknown device n9",
	} {
		_, err := l.Reach(t.Context(), "bob", n, consent.Agreement{Whoever: true}, 0)
		wantFault(t, err, fault.Failed, want)
	}
}

// A stay ends when the node passes to somebody else, is free again, is shared no more, gets
// another name, or is no device any more; and with its user's own wish.
func TestReachEnds(t *testing.T) {
	t.Parallel()
	type end struct {
		what string
		user auth.Name
		do   func(testLab) error
		want string
	}
	for _, e := range []end{
		{"taken", "bob", func(l testLab) error {
			return errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{Whoever: true}))
		}, "n1 changed hands"},
		{"released", "bob", func(l testLab) error { return errorOf(l.Release(t.Context(), "bob", Only("n1"))) }, "n1 changed hands"},
		{"released by the owner of a mate's", "dave", func(l testLab) error { return errorOf(l.Release(t.Context(), "bob", Only("n1"))) }, "n1 changed hands"},
		{"shared no more", "dave", func(l testLab) error { return errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol"})) }, "bob does not share n1 with you any more"},
		{"renamed", "bob", func(l testLab) error { return errorOf(l.Rename(t.Context(), "bob", "n1", "n7", consent.Agreement{})) }, "n1 "},
		{"forgotten", "bob", func(l testLab) error { return errorOf(l.Forget(t.Context(), "bob", Only("n1"), consent.Agreement{})) }, "n1 "},
	} {
		t.Run(e.what, func(t *testing.T) {
			l := newTeam(t)
			l.user(t, "dave")
			ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol", "dave"})))
			l.upAt(t, "n1", "10.9.0.1:22")
			w := l.reach(t, e.user, "n1")
			ok(t, e.do(l))
			wantFault(t, overWith(t, w), fault.Failed, e.want)
			d := dialed{}
			l.Dial = d.dial
			if _, err := w.Dial(t.Context(), 80); fault.As(err) == nil || len(d.addrs) > 0 {
				t.Errorf("it is dialed all the same: %q, %v", d.addrs, err)
			}
		})
	}
}

// Who takes a free node goes on with it; all others do not.
func TestReachFreeThatIsTaken(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.upAt(t, "n3", "10.9.0.1:22")
	bob, carol := l.reach(t, "bob", "n3"), l.reach(t, "carol", "n3")
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n3"), Remarks{}, consent.Agreement{})))
	wantFault(t, overWith(t, carol), fault.Failed, "n3 changed hands")
	if err := bob.Context().Err(); err != nil {
		t.Errorf("bob's own ended, too: %v", err)
	}
}

// A node that changes hands between the look at it and the stay is refused: also when it
// comes back, since what was cut between would go on.
func TestReachChangesHandsMeanwhile(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.upAt(t, "n1", "10.9.0.1:22")
	l.Lab.Store = &meanwhile{Store: l.Store, does: func() {
		ok(t, errorOf(l.Release(t.Context(), "bob", Only("n1"))))
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})))
	}}
	_, err := l.Reach(t.Context(), "bob", "n1", consent.Agreement{}, 0)
	wantFault(t, err, fault.Failed, "n1 changed hands")
	if l.visitors.Any("n1") {
		t.Error("somebody stays")
	}
}

// A node that boots is waited for, and no longer than that.
func TestReachWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		for _, n := range []Name{"v1", "v2"} {
			ok(t, errorOf(l.Boot(t.Context(), n)))
		}
		got := make(chan error, 2)
		for _, n := range []Name{"v1", "v2"} {
			go func() {
				w, err := l.Reach(t.Context(), "bob", n, consent.Agreement{}, 30*time.Second)
				if err == nil {
					w.Leave()
				}
				got <- err
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		l.Up("v1", "127.0.0.1:1")
		ok(t, <-got)
		begun := time.Now()
		wantFault(t, <-got, fault.Failed, "v2 is not up after 30s (booting: it loaded its kernel, and has not mounted its root)", "node wait v2")
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("after %v more", took)
		}
		_, err := l.Reach(t.Context(), "bob", "v2", consent.Agreement{}, 0)
		wantFault(t, err, fault.Failed, "v2 is not up (booting)")

		gone, give := context.WithCancel(t.Context())
		reaches := func() {
			_, err := l.Reach(gone, "bob", "v2", consent.Agreement{}, 30*time.Second)
			got <- err
		}
		go reaches()
		synctest.Wait()
		l.Failed("v2", errors.New("broken"))
		wantFault(t, <-got, fault.Failed, "v2 cannot boot")
		ok(t, errorOf(l.Boot(t.Context(), "v2")))
		go reaches()
		synctest.Wait()
		give()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// What is off, or not up for other reasons, is refused with them.
func TestReachDown(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.comeUp(t, "v1")
	w := l.reach(t, "bob", "v1")
	ok(t, l.PowerOff(t.Context(), "bob", Only("v1"), true, consent.Agreement{}, func(Change) {}))
	switched := make(chan error, 1)
	go func() { switched <- l.Switch(t.Context(), l.device(t, "v1").MAC, false) }()
	wantFault(t, overWith(t, w), fault.Failed, "v1 was switched off")
	ok(t, <-switched)
	_, err := l.Reach(t.Context(), "bob", "v1", consent.Agreement{}, time.Second)
	wantFault(t, err, fault.Failed, "v1 is off", "node on v1")
	_, err = l.Reach(t.Context(), "bob", "v2", consent.Agreement{}, 0)
	wantFault(t, err, fault.Failed, "v2 is not up (booting)")
}

// Every port of a machine is reached, at its address alone; a simulated node has one.
func TestReachDials(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.node(t, "n1", "m1")
	l.Own = func(ip netip.Addr) bool { return ip == netip.MustParseAddr("10.9.0.254") }
	l.IP = "10.9.0.253"
	l.comeUp(t, "v1")
	dial := func(n Name, port int) (string, error) {
		t.Helper()
		d := dialed{}
		l.Dial = d.dial
		w := l.reach(t, "bob", n)
		conn, err := w.Dial(t.Context(), port)
		if err != nil {
			if len(d.addrs) > 0 {
				t.Errorf("dialed all the same: %q", d.addrs)
			}
			return "", err
		}
		conn.Close()
		return d.addrs[0], nil
	}
	addr, err := dial("v1", 22)
	ok(t, err)
	if addr != "127.0.0.1:1" {
		t.Errorf("v1 is at %s", addr)
	}
	_, err = dial("v1", 80)
	wantFault(t, err, fault.Failed, "v1 is simulated: of its ports there is 22 alone, its SSH server")
	for _, port := range []int{0, -1, 65536} {
		_, err = dial("v1", port)
		wantFault(t, err, fault.Failed, "there is no port")
	}
	l.upAt(t, "n1", "10.9.0.7:22")
	for _, port := range []int{1, 22, 80, 65535} {
		addr, err := dial("n1", port)
		ok(t, err)
		if want := netip.AddrPortFrom(netip.MustParseAddr("10.9.0.7"), uint16(port)).String(); addr != want {
			t.Errorf("it is %s, want %s", addr, want)
		}
	}
	own := "10.9.0.253"
	all, err := net.InterfaceAddrs()
	ok(t, err)
	for _, a := range all { // of the host that tests run on
		if ip, _, _ := net.ParseCIDR(a.String()); !ip.IsLoopback() {
			own = ip.String()
		}
	}
	for _, at := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.9.0.254", "10.9.0.253",
		"::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", own,
	} {
		l.Up("n1", net.JoinHostPort(at, "22"))
		_, err := dial("n1", 80)
		wantFault(t, err, fault.Failed, "n1 has an address that is not a node's")
	}
	for _, at := range []string{"somewhere:22", "10.9.0.7", ""} {
		l.Up("n1", at)
		if _, err := dial("n1", 80); fault.As(err) == nil {
			t.Errorf("at %q: %v", at, err)
		}
	}
}

// Who cannot be connected to is told so without an address.
func TestReachDialsInVain(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.upAt(t, "n1", "10.9.0.7:22")
	w := l.reach(t, "bob", "n1")
	for err, want := range map[error]string{
		&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connect: connection refused")}: "port 80 of n1: connection refused",
		context.DeadlineExceeded: "port 80 of n1: no answer",
		errors.New("odd"):        "port 80 of n1: odd",
	} {
		d := dialed{err: err}
		l.Dial = d.dial
		_, err := w.Dial(t.Context(), 80)
		wantFault(t, err, fault.Failed, want)
	}
	l.Up("n1", "10.9.0.8:22") // as after a boot with another address: what runs there is not what was entered
	_, err := w.Dial(t.Context(), 80)
	wantFault(t, err, fault.Failed, "n1 went down", "node wait n1")
}

// A stay is use: the power of its node is not saved, and one that sleeps is woken.
func TestReachIsUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, nil, "n1", "n2")
		l.run(t)
		for _, n := range []Name{"n1", "n2"} {
			l.upAt(t, n, "10.9.0.7:22")
		}
		w, err := l.Reach(t.Context(), "bob", "n1", consent.Agreement{}, time.Second)
		ok(t, err)
		time.Sleep(3*time.Hour + time.Minute)
		equal(t, "ports off during a stay", r.Dark(), "one:161/2")
		w.Leave()
		time.Sleep(59 * time.Minute)
		equal(t, "ports off just after it", r.Dark(), "one:161/2")
		time.Sleep(61 * time.Minute)
		equal(t, "ports off an hour after it", r.Dark(), "one:161/1", "one:161/2")
		_, err = l.Reach(t.Context(), "bob", "n1", consent.Agreement{}, 0)
		wantFault(t, err, fault.Failed, "n1 is not up (powersave)")
		got := make(chan error, 1)
		go func() {
			w, err := l.Reach(t.Context(), "bob", "n1", consent.Agreement{}, 30*time.Second)
			if err == nil {
				w.Leave()
			}
			got <- err
		}()
		time.Sleep(10 * time.Second)
		equal(t, "ports off once it is wanted", r.Dark(), "one:161/2")
		l.upAt(t, "n1", "10.9.0.7:22")
		ok(t, <-got)
	})
}
