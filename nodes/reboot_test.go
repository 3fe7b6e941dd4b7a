package nodes_test

import (
	"sync/atomic"
	"testing"

	"walt/consent"
	"walt/nodes"
)

// counted counts how often the power of nodes is switched.
type counted struct {
	nodes.Host
	starts atomic.Int32
}

func (c *counted) Start(n nodes.Name) error {
	c.starts.Add(1)
	return c.Host.Start(n)
}

func TestReboot(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	power := &counted{Host: l.sim}
	l.Hosts[nodes.Simulated] = power
	n := l.up(t)
	reboot := func(what string, hard bool, starts int32) {
		t.Helper()
		set, err := nodes.ParseSet("v1")
		ok(t, err)
		before := power.starts.Load()
		ok(t, l.Reboot(t.Context(), "bob", set, hard, consent.Agreement{}, func(ch nodes.Change) {
			if ch.Reboot.Outcome != nodes.RebootOK {
				t.Errorf("%s: %s", what, ch.Reboot)
			}
		}))
		if got := power.starts.Load() - before; got != starts {
			t.Errorf("%s: its power was cut %d times, want %d", what, got, starts)
		}
		if n = l.up(t); n.Name != "v1" {
			t.Errorf("%s: up is %s", what, n.Name)
		}
	}
	reboot("one that is up", false, 0)
	reboot("one that is up, and not asked", true, 1)
	l.Up("v1", "127.0.0.1:1")
	reboot("one that does not answer", false, 1)
}
