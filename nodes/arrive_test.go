package nodes

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
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
		{Arrival{MAC: "52:54:0b:4f:2a:1c", Host: "server"}, "device-4f2a1c-4", Unknown},
		{Arrival{MAC: "52:54:0c:4f:2a:1c", Host: "WPAD"}, "device-4f2a1c-5", Unknown},
		{Arrival{MAC: "52:54:0d:4f:2a:1c", Host: "localhost"}, "device-4f2a1c-6", Unknown},
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

// Anybody can be any number of strangers, of any model: there is an end to that, which keeps
// out nobody who is known. One that boots is none any more, nor is one that a user took; the
// others are forgotten at once.
func TestStrangers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.image(t, defaultOf("rpi-3-b"))
	mac := func(i int) ethernet.MAC { return ethernet.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff)) }
	models := []images.Model{"", "rpi-3-b", "pc-x86-64"}
	for i := range strangers {
		_, err := l.Met(t.Context(), Arrival{MAC: mac(i), Model: models[i%len(models)]})
		ok(t, err)
	}
	refused := func(i int) {
		t.Helper()
		for _, m := range models {
			_, err := l.Met(t.Context(), Arrival{MAC: mac(i), Model: m})
			wantFault(t, err, fault.Failed, fmt.Sprint(strangers, " devices"))
		}
	}
	refused(strangers)
	_, err := l.Met(t.Context(), Arrival{MAC: mac(0), Model: "rpi-3-b"})
	ok(t, err)
	_, err = l.Register(t.Context(), "alice", Announcement{Name: "board", MAC: macOf("board"), Model: "rpi-3-b"})
	ok(t, err)

	booted, _, err := l.Device(t.Context(), mac(1))
	ok(t, err)
	_, err = l.Boot(t.Context(), booted.Name)
	ok(t, err)
	_, err = l.Met(t.Context(), Arrival{MAC: mac(strangers), Model: "rpi-3-b"})
	ok(t, err)
	refused(strangers + 1)
	taken, _, err := l.Device(t.Context(), mac(4))
	ok(t, err)
	_, err = l.Acquire(t.Context(), "alice", parse(string(taken.Name)), Remarks{}, consent.Agreement{})
	ok(t, err)

	gone, err := l.ForgetUnknown(t.Context(), "alice", consent.Agreement{})
	ok(t, err)
	if len(gone) != strangers-1 { // one is a node of alice
		t.Errorf("%d devices are forgotten", len(gone))
	}
	for _, m := range []ethernet.MAC{booted.MAC, taken.MAC, macOf("board")} {
		if _, here, err := l.Device(t.Context(), m); !here || err != nil {
			t.Errorf("%s is forgotten, %v", m, err)
		}
	}
}

// So there is when all of them come at the same moment.
func TestStrangersAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var taken atomic.Int32
	var all sync.WaitGroup
	for i := range 2 * strangers {
		all.Go(func() {
			if _, err := l.Met(t.Context(), Arrival{MAC: ethernet.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff))}); err == nil {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n == 0 || n > strangers {
		t.Errorf("%d of %d are taken in", n, 2*strangers)
	}
}

// A device that came by itself, or was imported, is one of the lab when somebody names it,
// sets it up or tells of it: it is not forgotten with those that nobody knows, though it has
// booted nothing yet.
func TestNoStrangers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.image(t, defaultOf("rpi-3-b"))
	met := func(i int, m images.Model) Device {
		t.Helper()
		d, err := l.Met(t.Context(), Arrival{MAC: ethernet.MAC(fmt.Sprintf("52:54:00:00:00:%02x", i)), Model: m})
		ok(t, err)
		return d
	}
	all := [...]Device{met(1, "rpi-3-b"), met(2, "rpi-3-b"), met(3, ""), met(4, "rpi-3-b"), met(5, "rpi-3-b"), met(6, "rpi-3-b")}
	_, err := l.Rename(t.Context(), "alice", all[0].Name, "bench", consent.Agreement{})
	ok(t, err)
	_, err = l.Configure(t.Context(), "alice", Only(all[1].Name), false, []Assignment{{"boot.retries", "3"}}, consent.Agreement{})
	ok(t, err)
	_, err = l.Configure(t.Context(), "alice", Only(all[2].Name), false, []Assignment{{"type", "switch"}}, consent.Agreement{})
	ok(t, err)
	_, err = l.Register(t.Context(), "alice", Announcement{Name: all[3].Name, MAC: all[3].MAC, Model: "rpi-3-b"})
	ok(t, err)
	_, err = l.Register(t.Context(), "alice", Announcement{Name: "added", MAC: macOf("added")})
	ok(t, err)
	_, err = l.Met(t.Context(), Arrival{MAC: macOf("added"), Model: "rpi-3-b"})
	ok(t, err)
	done, err := l.Import(t.Context(), journal.Server, []Announcement{{Name: all[4].Name, MAC: all[4].MAC}, {Name: "imported", MAC: macOf("imported"), Model: "rpi-3-b"}}, false)
	ok(t, err)
	if !slices.Equal(done, []Imported{{Known: true}, {}}) {
		t.Errorf("what came of the import is %+v", done)
	}
	gone, err := l.ForgetUnknown(t.Context(), "alice", consent.Agreement{})
	ok(t, err)
	if len(gone) != 1 || gone[0].Name != all[5].Name {
		t.Errorf("forgotten is %+v", gone)
	}
}

// What boots devices that start by themselves is told when they are called otherwise, and
// when they are removed: of those that are hardware. Of simulated ones the host key is
// forgotten.
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
	simulated := string(l.device(t, "v3").MAC)
	_, err = l.Remove(t.Context(), "bob", parse("v3"), consent.Agreement{})
	ok(t, err)
	equal(t, "told of ends", agents.did, "forgo "+mac, "end "+mac, "forgo "+simulated)
}
