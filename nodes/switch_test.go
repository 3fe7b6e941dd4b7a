package nodes

import (
	"context"
	"strconv"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/power/powertest"
)

// wired is a lab with a switch sw-1 of the address "one:161", on whose ports
// from 1 on the nodes hang.
func wired(t testing.TB, idle time.Duration, users []auth.Name, nodes ...Name) (testLab, *powertest.Rig) {
	t.Helper()
	l := newLab(t, users, nodes...)
	r := powertest.New()
	l.Ports.Dial = r.Dial
	l.Ports.SetIdle(idle)
	l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
	for i, n := range nodes {
		l.configure(t, n, "switch=sw-1", "port="+strconv.Itoa(i+1))
	}
	return l, r
}

func (l testLab) addSwitch(t testing.TB, name Name, address string, more ...string) {
	t.Helper()
	_, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name))})
	ok(t, err)
	l.configure(t, name, append([]string{"type=switch", "address=" + address, "snmp.version=2", "snmp.community=private"}, more...)...)
}

func (l testLab) configure(t testing.TB, name Name, words ...string) {
	t.Helper()
	want, _, err := ParseAssignments(words, false)
	ok(t, err)
	_, err = l.Configure(t.Context(), "alice", Only(name), false, want, consent.Agreement{Whoever: true})
	ok(t, err)
}

// live runs the lab until the function that it returns is called.
func (l testLab) live(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		ok(t, <-ended)
	}
}

func (l testLab) state(t testing.TB, n Name) DeviceStatus {
	t.Helper()
	found, _, err := l.Devices(t.Context(), "alice", Only(n))
	ok(t, err)
	return found[0]
}
