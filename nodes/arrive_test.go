package nodes

import (
	"fmt"
	"strings"
	"testing"

	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
)

// A device that comes by itself is registered once, under a name that it can have.
func TestMet(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "board")
	l.image(t, defaultOf("rpi-3-b"))
	for i, c := range []struct {
		arrival Arrival
		name    Name
		kind    Kind
	}{
		{Arrival{MAC: "52:54:00:4f:2a:1c", Model: "rpi-3-b"}, "rpi-4f2a1c", Node},
		{Arrival{MAC: "52:54:00:4f:2a:1c", Model: "pc-x86-64", Host: "other"}, "rpi-4f2a1c", Node}, // it stays as it is
		{Arrival{MAC: "52:54:01:4f:2a:1c", Model: "rpi-3-b"}, "rpi-4f2a1c-2", Node},
		{Arrival{MAC: "52:54:02:4f:2a:1c", Host: "Printer"}, "printer", Unknown},
		{Arrival{MAC: "52:54:03:4f:2a:1c", Host: "printer"}, "printer-2", Unknown},
		{Arrival{MAC: "52:54:04:4f:2a:1c", Host: "board"}, "board-2", Unknown},
		{Arrival{MAC: "52:54:05:4f:2a:1c", Host: "my-nodes"}, "device-4f2a1c", Unknown},
		{Arrival{MAC: "52:54:06:4f:2a:1c", Host: "$(reboot)"}, "device-4f2a1c-2", Unknown},
		{Arrival{MAC: "52:54:07:4f:2a:1c", Host: strings.Repeat("x", 63)}, Name(strings.Repeat("x", 63)), Unknown},
		{Arrival{MAC: "52:54:08:4f:2a:1c", Host: strings.Repeat("x", 63)}, Name(strings.Repeat("x", 61) + "-2"), Unknown},
		{Arrival{MAC: "52:54:02:4f:2a:1c", Model: "rpi-3-b"}, "printer", Node}, // it tells its model later
		{Arrival{MAC: "52:54:09:4f:2a:1c", Model: "pc-x86-64"}, "pc-4f2a1c", Unknown},
		{Arrival{MAC: "52:54:0a:4f:2a:1c", Model: "3d-printer"}, "device-4f2a1c-3", Unknown},
	} {
		d, err := l.Met(t.Context(), c.arrival)
		if err != nil || d.Name != c.name || d.Kind != c.kind || d.MAC != c.arrival.MAC {
			t.Errorf("%d: %+v is %+v, %v; want %s, a %s", i, c.arrival, d, err, c.name, c.kind)
		}
		found, here, err := l.Device(t.Context(), c.arrival.MAC)
		if err != nil || !here || found.Name != c.name {
			t.Errorf("%d: %s is %+v, %v, %v", i, c.arrival.MAC, found, here, err)
		}
	}
	if _, here, err := l.Device(t.Context(), "52:54:ff:00:00:00"); here || err != nil {
		t.Errorf("a device that nobody has met: %v, %v", here, err)
	}
}

// Anybody can be any number of strangers: there is an end to that, which keeps out nobody
// who is known, or who tells what it is.
func TestStrangers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	mac := func(i int) ethernet.MAC { return ethernet.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff)) }
	for i := range strangers {
		if _, err := l.Met(t.Context(), Arrival{MAC: mac(i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Met(t.Context(), Arrival{MAC: mac(strangers)})
	wantFault(t, err, fault.Failed, fmt.Sprint(strangers, " devices"))
	for _, a := range []Arrival{{MAC: mac(0)}, {MAC: mac(strangers), Model: images.Model("rpi-3-b")}} {
		if _, err := l.Met(t.Context(), a); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// What boots devices that start by themselves is told when they are called otherwise, and
// when they are removed: of those that are hardware.
func TestBootsFollowTheirDevices(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	agents := &ordered{}
	l.Agents = agents
	l.node(t, "board", "m1")
	mac := string(macOf("board"))
	_, err := l.Rename(t.Context(), "alice", "board", "bench", consent.Agreement{})
	ok(t, err)
	_, err = l.Rename(t.Context(), "bob", "v1", "v3", consent.Agreement{})
	ok(t, err)
	equal(t, "told of names", agents.did, "call "+mac+" bench")
	agents.did = nil
	_, err = l.Forget(t.Context(), "alice", parse("bench"), consent.Agreement{})
	ok(t, err)
	_, err = l.Remove(t.Context(), "bob", parse("v3"), consent.Agreement{})
	ok(t, err)
	equal(t, "told of ends", agents.did, "forgo "+mac, "end "+mac)
}
