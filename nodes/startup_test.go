package nodes

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/images"
	"walt/state"
)

// A machine is started once, whoever comes to it at the same time.
func TestMachineStartsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.Hosts[QEMU] = l.grid
		l.grid.dead = true
		d, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
		ok(t, err)
		l.status.forget("vm1") // as after a start
		l.grid.take()
		all := slices.Repeat([]*Device{&d}, 50)
		l.queue(all)
		ok(t, l.startMachines(t.Context(), all, len(all)))
		equal(t, "started", l.grid.take(), "vm1")
	})
}

// cutter is a host of nodes that somebody wants off in the moment in which they start.
type cutter struct {
	*grid
	off func()
}

func (c cutter) Start(n Name) error {
	c.off()
	return c.grid.Start(n)
}

func (c cutter) Stop(n Name) {
	c.grid.Stop(n)
	c.lab.Down(n, false, "")
}

// A machine that waited for its turn is off when that is ordered meanwhile.
func TestMachineIsOffThatStarts(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.grid.dead = true
	d, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	l.Hosts[QEMU] = cutter{l.grid, func() {
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
			_, err := l.Ports.PowerOff(tx, d.MAC, true, "alice")
			return err
		})
		ok(t, err)
	}}
	l.status.forget("vm1")
	l.queue([]*Device{&d})
	ok(t, l.startInTurn(t.Context(), "vm1"))
	equal(t, "stopped", l.grid.stopped, "vm1")
}

// When none of the machines runs any more, as after a start of the host, they start a few
// at a time, those of users first.
func TestMachinesStartInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"})
		l.Hosts[QEMU] = l.grid
		l.Creates = func(images.Model) (HostKind, string, error) { return QEMU, "", nil }
		l.grid.dead = true
		var all []*Device
		for _, n := range []Name{"a1", "a2", "b1", "b2", "b3", "b4"} {
			_, err := l.Create(t.Context(), "bob", Virtual{Name: n, Model: "m1"}, nil)
			ok(t, err)
		}
		_, err := l.Release(t.Context(), "bob", parse("a1,a2"))
		ok(t, err)
		ok(t, l.PowerOff(t.Context(), "bob", parse("b3"), true, consent.Agreement{}, func(Change) {}))
		for _, n := range []Name{"a1", "a2", "b1", "b2", "b3", "b4"} {
			d := l.device(t, n)
			all = append(all, &d)
			l.status.forget(n) // as after a start
		}
		l.grid.take()
		l.queue(all)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.startMachines(ctx, all, 2) }()
		started := func(what string, names ...Name) {
			t.Helper()
			synctest.Wait()
			equal(t, what, slices.Sorted(slices.Values(l.grid.take())), names...)
		}
		started("at first", "b1", "b2")
		if s := l.state(t, "a1"); s.State != Off || s.Why != "it waits for its turn to start" {
			t.Errorf("a1 is %+v", s.Status)
		}
		l.comeUp(t, "b1")
		started("after one is up, but for one that is to be off", "b4")
		l.Failed("b2", errDamaged)
		started("after one failed", "a1")
		l.start(*all[1], 0, cause{}) // somebody does
		started("by hand", "a2")
		time.Sleep(turnLimit)
		started("of those that take too long nobody starts anew")
		ok(t, <-ended)
		stop()
	})
}
