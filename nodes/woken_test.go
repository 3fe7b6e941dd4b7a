package nodes

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
)

// sleeper is the agent of a node, n1, and the network card that wakes it.
type sleeper struct {
	*ordered
	lab     *Lab
	on      atomic.Bool
	refuses atomic.Bool
	deaf    atomic.Bool
	packets atomic.Int64
}

func (s *sleeper) Connected(ethernet.MAC) bool { return s.on.Load() }

func (s *sleeper) Deaf(ethernet.MAC) bool { return s.deaf.Load() }

func (s *sleeper) PowerOff(ctx context.Context, n Name) error {
	if s.refuses.Load() {
		return errors.New("it does not begin")
	}
	s.on.Store(false)
	return s.ordered.PowerOff(ctx, n)
}

func (s *sleeper) Able() error { return nil }

func (s *sleeper) Wake(ethernet.MAC) error {
	s.packets.Add(1)
	return nil
}

// boots has it boot, and come up.
func (s *sleeper) boots(t testing.TB) {
	t.Helper()
	_, err := s.lab.Boot(t.Context(), "n1")
	ok(t, err)
	s.on.Store(true)
	s.lab.Up("n1", "192.0.2.1:22")
}

// A node that packets wake is asked whatever it is to do, and woken when it is off: to save
// power, by hand, and without anybody knowing why.
func TestWokenByPackets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1")
		s := &sleeper{ordered: &ordered{}, lab: l.Lab}
		l.Agents, l.Ports.Waker = s, s
		l.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
		l.configure(t, "n1", "power=wol")
		l.Ports.SetIdle(time.Hour)
		defer l.live(t)()
		ctx := t.Context()
		did := func(want ...string) {
			t.Helper()
			synctest.Wait()
			equal(t, "asked", s.did, want...)
			s.did = nil
		}
		s.boots(t)

		// Nobody needs it, and its card could not be woken.
		s.deaf.Store(true)
		time.Sleep(3 * time.Hour)
		did()
		s.deaf.Store(false)
		s.boots(t)

		// Nobody needs it, and then somebody does.
		l.becomes(t, "n1", time.Hour+time.Minute, Powersave)
		did("power off n1")
		r, err := l.Acquire(ctx, "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		if how := r.Changes[0].Reboot.Outcome; how != RebootOK || s.packets.Load() == 0 || l.state(t, "n1").State != Booting {
			t.Errorf("taken: %s, %d packets, %s", how, s.packets.Load(), l.state(t, "n1").State)
		}
		first := s.packets.Load()
		time.Sleep(10 * time.Second)
		if s.packets.Load() == first {
			t.Error("it has not shown up, and packets are not sent again")
		}
		s.boots(t)
		last := s.packets.Load()

		// It starts anew for who takes it next, and for its owner.
		ok(t, errorOf(l.Release(ctx, "bob", parse("n1"))))
		did("reboot n1")
		s.boots(t)
		reboot := func(hard bool) (how string, err error) {
			err = l.Reboot(ctx, "bob", parse("n1"), hard, consent.Agreement{}, func(c Change) { how = c.Reboot.String() })
			return how, err
		}
		if how, err := reboot(false); err != nil || how != "ok" {
			t.Errorf("rebooted: %s, %v", how, err)
		}
		did("reboot n1")
		s.boots(t)

		// Nothing cuts its power.
		_, err = reboot(true)
		wantFault(t, err, fault.Failed, "nothing can cut the power of n1: it is woken by packets (power=wol); nothing changed")
		err = l.PowerOff(ctx, "bob", parse("n1"), true, consent.Agreement{}, func(Change) {})
		wantFault(t, err, fault.Failed, "nothing can cut the power of n1")
		want, _, err := ParseAssignments([]string{"power.first=hard"}, func() []string { return nil })
		ok(t, err)
		_, err = l.Configure(ctx, "alice", Only("n1"), false, want, consent.Agreement{})
		wantFault(t, err, fault.Failed, "nothing can cut the power of n1, which packets wake; nothing changed")
		s.err = errors.New("it does not begin")
		if how, err := reboot(false); err != nil || how != "it did not reboot by itself (it does not begin), and the server has no means to cut its power" {
			t.Errorf("what does not reboot: %s, %v", how, err)
		}
		did("reboot n1")
		s.err = nil
		if s.packets.Load() != last {
			t.Error("what is on was woken")
		}

		// Its card cannot be woken: it would stay off.
		s.deaf.Store(true)
		var asleep []string
		ok(t, l.PowerOff(ctx, "bob", parse("n1"), false, consent.Agreement{}, outcomes(&asleep)))
		equal(t, "off", asleep, "n1 it is not shut down: its network card cannot be woken by packets, as its driver says")
		ok(t, l.PowerOn(ctx, "bob", parse("n1"), consent.Agreement{}, outcomes(&asleep)))
		report, err := l.PowerReport(ctx)
		ok(t, err)
		if p := report.Ports[0]; p.Doubt != "its network card cannot be woken by packets, as its driver says" {
			t.Errorf("power show: %+v", p)
		}
		did()
		s.deaf.Store(false)
		s.boots(t)

		// It is switched off by hand, which may fail, and on.
		s.refuses.Store(true)
		var how []string
		ok(t, l.PowerOff(ctx, "bob", parse("n1"), false, consent.Agreement{}, outcomes(&how)))
		equal(t, "off", how, "n1 it did not shut down by itself (it does not begin), and nothing can cut its power")
		s.refuses.Store(false)
		l.becomes(t, "n1", time.Minute, Off)
		did("power off n1")
		how = nil
		ok(t, l.PowerOn(ctx, "bob", parse("n1"), consent.Agreement{}, outcomes(&how)))
		equal(t, "on", how, "n1 ok")
		if s.packets.Load() == last {
			t.Error("it was not woken")
		}

		// It does not come up: it is left alone, and woken as before.
		last = s.packets.Load()
		l.becomes(t, "n1", 5*time.Minute, Unreachable)
		if why := l.state(t, "n1").Why; why != "not up after 3m0s: left alone, since packets wake it, and nothing can cut its power" || s.packets.Load() == last {
			t.Errorf("it is unreachable: %s", why)
		}
		s.boots(t)

		// Somebody presses its button, and it still counts as up: who wants it on, or rebooted, has
		// it woken.
		for what, do := range map[string]func(each func(Change)) error{
			"on": func(each func(Change)) error { return l.PowerOn(ctx, "bob", parse("n1"), consent.Agreement{}, each) },
			"reboot": func(each func(Change)) error {
				return l.Reboot(ctx, "bob", parse("n1"), false, consent.Agreement{}, each)
			},
		} {
			s.on.Store(false)
			s.err, last, how = errors.New("it is gone"), s.packets.Load(), nil
			l.Lost("n1", l.Now(), "")
			report, err := l.PowerReport(ctx)
			ok(t, err)
			if is, power := l.state(t, "n1").State, report.Ports[0].Power; is != Up || power != "unknown" {
				t.Errorf("it is %s, with the power %s", is, power)
			}
			ok(t, do(outcomes(&how)))
			equal(t, what, how, "n1 ok")
			if s.packets.Load() == last || l.state(t, "n1").State != Booting {
				t.Errorf("%s: it was not woken, and is %s", what, l.state(t, "n1").State)
			}
			s.err, s.did = nil, nil
			s.boots(t)
		}

		// Somebody pressed its button.
		s.on.Store(false)
		l.becomes(t, "n1", 2*time.Minute, Unreachable)
		how, last = nil, s.packets.Load()
		ok(t, l.PowerOn(ctx, "bob", parse("n1"), consent.Agreement{}, outcomes(&how)))
		equal(t, "on", how, "n1 ok")
		if s.packets.Load() == last {
			t.Error("it was not woken")
		}
	})
}
