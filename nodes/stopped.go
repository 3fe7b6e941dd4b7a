package nodes

import (
	"context"
	"strings"
	"time"

	"walt/fault"
	"walt/journal"
)

const stopReason = "it stopped before its root is mounted, as boot.rescue says"

// Stopped is called when the init of a machine answers at addr, host:port of its SSH
// server, and goes no further: the boot failed, or stopped on purpose if failed is nil.
// One that stopped on purpose is not cut for it. Of a node that was told to start anew, it
// is of the boot that ends by that.
func (l *Lab) Stopped(n Name, addr string, failed error) {
	if l.status.of(n).due {
		return
	}
	if failed != nil {
		l.failed(n, failed)
	}
	l.status.change(n, func(s *Status) {
		switch {
		case s.Failed:
			s.Addr = addr
		case s.State == Booting && !s.due:
			s.Addr, s.Why, s.Step, s.late, s.tries = addr, stopReason, StepRescue, time.Time{}, 0
		}
	})
}

// Stopped reports whether the init of the machine answers at Addr, in place of what its
// image runs: its boot has failed, or stopped on purpose.
func (s Status) Stopped() bool { return s.Addr != "" && (s.Failed || s.State == Booting) }

// hasStopped is the fault for nodes that are waited for and stopped on purpose.
func hasStopped(all []DeviceStatus) error {
	var names []string
	for _, n := range all {
		names = append(names, string(n.Name))
	}
	list := strings.Join(names, ",")
	return fault.Failedf("%s stopped before the root is mounted, as boot.rescue says", strings.Join(names, ", ")).
		WithHint("look around with: node shell %s\nhave it go on with: node run %s continue", names[0], list)
}

// Ended is called with how the process ended that a machine runs whose image has no init,
// in words for users. The machine goes on. again is that it was called before in this
// boot, too, perhaps before the server started: the log has it.
func (l *Lab) Ended(n Name, how string, again bool) {
	l.status.change(n, func(s *Status) {
		if s.State == Up {
			s.Why = how
		}
	})
	if again {
		return
	}
	err := l.Journal.Add(context.Background(), journal.Event{Type: journal.Power, Actor: journal.Server, Node: string(n), Detail: how})
	l.unnoted.because(l.Log, err, "note that the process of a node has ended", n)
}

// Wrote is told how many bytes a machine has written since its boot, and how many it
// may. Nobody waits for that.
func (l *Lab) Wrote(n Name, bytes, most int64) {
	b := l.status
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.all[n]; s != nil && s.State != Off {
		s.Written, s.Room = bytes, most
	}
}
