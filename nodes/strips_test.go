package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/power/driver"
)

// rack is a device of drivers whose requests take a second each.
type rack struct {
	mu  sync.Mutex
	off map[string]bool
	did []string // outlets that were switched off
}

func (r *rack) Status(_ context.Context, t driver.Target) (driver.State, error) {
	time.Sleep(time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off[t.Port] {
		return driver.Off, nil
	}
	return driver.On, nil
}

func (r *rack) Switch(_ context.Context, t driver.Target, on bool) error {
	time.Sleep(time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off[t.Port] = !on; !on {
		r.did = append(r.did, t.Port)
	}
	return nil
}

func (r *rack) Close() error { return nil }

// take returns the outlets that were switched off since the last call.
func (r *rack) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	did := r.did
	r.did = nil
	return did
}

// racked is a lab whose nodes all hang on one outlet.
func racked(t *testing.T, users []auth.Name, nodes ...Name) (testLab, *rack) {
	t.Helper()
	l := newLab(t, users, nodes...)
	r := &rack{off: map[string]bool{}}
	ok(t, l.Ports.Drivers.Set([]driver.Driver{{Name: "rack", Means: r}}, nil))
	for _, n := range nodes {
		l.configure(t, n, "power=rack:1")
	}
	return l, r
}

// boots has a node ask what to boot, so that the server may be of help to it.
func (l testLab) boots(t *testing.T, n Name) {
	t.Helper()
	_, err := l.Boot(t.Context(), n)
	ok(t, err)
}

// Whose node loses its power with another one is asked and told, and what is there is
// started anew, not dead.
func TestRebootOfASharedOutlet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := racked(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3")
		stop := l.live(t)
		defer stop()
		for n, user := range map[string]auth.Name{"n1": "bob", "n2": "carol"} {
			_, err := l.Acquire(t.Context(), user, parse(n), Remarks{}, consent.Agreement{})
			ok(t, err)
		}
		for _, n := range []Name{"n1", "n2", "n3"} {
			l.Up(n, "127.0.0.1:1")
		}
		reboot := func(given consent.Agreement) (all []string, err error) {
			err = l.Reboot(t.Context(), "bob", parse("n1"), true, given, func(ch Change) {
				all = append(all, fmt.Sprintf("%s %s %s", ch.Node, ch.With, ch.Reboot))
			})
			return all, err
		}
		_, err := reboot(consent.Agreement{})
		wantContest(t, err, false, "n2 carol", "n3 "+string(auth.Nobody))
		equal(t, "cut unasked", r.take())
		got, err := reboot(consent.Agreement{Whoever: true})
		ok(t, err)
		equal(t, "rebooted", got, "n1  ok", "n2 n1 ok", "n3 n1 ok")
		equal(t, "cut", r.take(), "1")
		for _, n := range []Name{"n1", "n2", "n3"} {
			if s := l.state(t, n); s.State != Booting {
				t.Errorf("%s is %s: %s", n, s.State, s.Why)
			}
		}
		synctest.Wait()
		var why []string
		ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
			if e.Type == journal.State && e.From == string(Up) {
				why = append(why, e.Node+" "+e.Detail)
			}
			return nil
		})))
		slices.Sort(why)
		equal(t, "why they went down", why, "n1 rebooted", "n2 lost its power with n1", "n3 lost its power with n1")
	})
}

// What answers no request to reboot is not cut with others unasked: it is told whom its
// outlet feeds.
func TestSoftRebootOnASharedOutlet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := racked(t, nil, "n1", "n2")
		stop := l.live(t)
		defer stop()
		l.Up("n1", "127.0.0.1:1")
		var came Reboot
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), false, consent.Agreement{}, func(ch Change) { came = ch.Reboot }))
		if came.Outcome != RebootFailed || !came.Shared || !strings.HasSuffix(came.Reason, "), and rack:1 feeds n2, too") {
			t.Errorf("it came to %+v", came)
		}
		equal(t, "cut unasked", r.take())
	})
}

// The watchdog cuts nothing that somebody else has, or that works.
func TestStuckOnASharedOutlet(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		owner auth.Name
		up    bool
		why   string // "": it is cut
	}{
		"somebody else's": {owner: "carol", why: "left alone, since rack:1 feeds n2 of carol, too"},
		"up":              {up: true, why: "left alone, since rack:1 feeds n2, which is up, too"},
		"mine, and up":    {owner: "bob", up: true, why: "left alone, since rack:1 feeds n2, which is up, too"},
		"nobody's":        {},
		"mine":            {owner: "bob"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, r := racked(t, []auth.Name{"bob", "carol"}, "n1", "n2")
				stop := l.live(t)
				defer stop()
				_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
				ok(t, err)
				if c.owner != "" {
					_, err := l.Acquire(t.Context(), c.owner, parse("n2"), Remarks{}, consent.Agreement{})
					ok(t, err)
				}
				l.configure(t, "n1", "boot.timeout=1m", "boot.retries=2")
				l.boots(t, "n1")
				time.Sleep(59 * time.Second)
				if c.up {
					l.Up("n2", "127.0.0.1:1")
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				s := l.state(t, "n1")
				if cut := len(r.take()); cut != 0 != (c.why == "") || !strings.HasSuffix(s.Why, c.why) {
					t.Errorf("it was cut %d times; n1 is %s: %s", cut, s.State, s.Why)
				}
			})
		})
	}
}

// Off is for all that hang there; on brings all back, and asks whose else it is.
func TestSharedOutletOffAndOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := racked(t, []auth.Name{"bob", "carol"}, "n1", "n2")
		_, err := l.Acquire(t.Context(), "carol", parse("n2"), Remarks{}, consent.Agreement{})
		ok(t, err)
		all := func(do func(each func(Change)) error) (all []string, err error) {
			err = do(func(ch Change) { all = append(all, fmt.Sprintf("%s %s %s", ch.Node, ch.With, ch.Reboot)) })
			slices.Sort(all)
			return all, err
		}
		off := func(set string, given consent.Agreement) ([]string, error) {
			return all(func(each func(Change)) error { return l.PowerOff(t.Context(), "bob", parse(set), true, given, each) })
		}
		on := func(given consent.Agreement) ([]string, error) {
			return all(func(each func(Change)) error { return l.PowerOn(t.Context(), "bob", parse("n1"), given, each) })
		}
		_, err = off("n1", consent.Agreement{Whoever: true})
		wantFault(t, err, fault.Failed, "what feeds n1 (rack:1) feeds n2 of carol, too; nothing changed", "node off n1,n2")
		_, err = off("n1,n2", consent.Agreement{})
		wantContest(t, err, false, "n2 carol")
		equal(t, "cut", r.take())
		got, err := off("n1,n2", consent.Agreement{Whoever: true})
		ok(t, err)
		equal(t, "off", got, "n1  ok", "n2  ok")
		equal(t, "cut", r.take(), "1")
		if s := l.state(t, "n2"); s.State != Off || s.Off.By != "bob" {
			t.Errorf("n2 is %+v", s.Status)
		}
		_, err = on(consent.Agreement{})
		wantContest(t, err, false, "n2 carol")
		got, err = on(consent.Agreement{Whoever: true})
		ok(t, err)
		equal(t, "on", got, "n1  ok", "n2 n1 ok")
		if s := l.state(t, "n2"); s.State != Booting || r.off["1"] {
			t.Errorf("n2 is %+v, %v", s.Status, r.off)
		}
	})
}
