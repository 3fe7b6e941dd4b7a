package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// hold acquires nodes for some time.
func (l testLab) hold(t testing.TB, user auth.Name, set string, d time.Duration) {
	t.Helper()
	ok(t, errorOf(l.Acquire(t.Context(), user, parse(set), Remarks{End: End{After: d}}, consent.Agreement{})))
}

// after lets time pass, and what is due then happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A hold ends when its time is over: then the server releases the node, which its owner and
// the log are told. One of a node that is not that owner's any more, or without an end, goes
// on.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3", "n4", "n5", "n6")
		defer l.run(t)()
		l.hold(t, "bob", "n1,n2,n3,n4", time.Hour)
		at := time.Now().Add(2 * time.Hour)
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n5"), Remarks{End: End{At: at}}, consent.Agreement{})))
		v, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1", Remarks: Remarks{End: End{After: time.Hour}}}, nil)
		ok(t, err)
		said := l.device(t, "v1").Remarks()
		if until := v.Changes[0].Until; time.Until(until) != time.Hour || !said.Until.Equal(until) || said.End != (End{}) {
			t.Errorf("it ends at %v, on its row is %+v", until, said)
		}

		after(30 * time.Minute)
		ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n2"), Remarks{}, consent.Agreement{Whoever: true})))
		l.image(t, images.Image{Ref: ref("bob/mine"), Digest: sum("mine"), Models: []images.Model{"m1"}})
		ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n3"), "mine", Remarks{End: End{Never: true}}, consent.Agreement{})))
		ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n4"), "mine", Remarks{}, consent.Agreement{}))) // says nothing of an end
		ok(t, errorOf(l.Rename(t.Context(), "bob", "n1", "n9", consent.Agreement{})))
		l.unseen(t, "bob")
		after(30*time.Minute - time.Second)
		equal(t, "owners a second before", l.owners(t, "n9", "v1", "n2", "n3", "n4", "n5"), "bob", "bob", "carol", "bob", "bob", "bob")
		after(time.Second)
		equal(t, "owners then", l.owners(t, "n9", "v1", "n2", "n3", "n4", "n5"), auth.Nobody, auth.Nobody, "carol", "bob", auth.Nobody, "bob")
		equal(t, "bob is told", l.unseen(t, "bob"), "the holds of 3 of your nodes ended, which are no longer yours: n4, n9, v1")
		after(time.Hour)
		equal(t, "owners later", l.owners(t, "n3", "n5", "n2"), "bob", auth.Nobody, "carol")
		equal(t, "bob is told", l.unseen(t, "bob"), "the hold of your node n5 ended: it is no longer yours")
		told := l.events(t, journal.Ownership)
		equal(t, "the log tells", told[len(told)-1:], "server n5: bob -> , boots waltplatform/m1-default, the hold ended")
		sound(t, l.Store)
	})
}

// Ten thousand holds end at the same moment, and while the store fails none of them is
// forgotten.
func TestManyHoldsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 10_000
		memory, err := badger.OpenMemory()
		ok(t, err)
		t.Cleanup(func() { ok(t, memory.Close()) })
		store := &failing{Store: memory}
		l := over(store, time.Now, newShelf())
		ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
		l.image(t, defaultOf("m1"))
		for part := range 10 {
			var all []Announcement
			for i := range many / 10 {
				n := Name(fmt.Sprintf("n-%d", part*many/10+i))
				all = append(all, Announcement{Name: n, MAC: macOf(string(n)), Model: "m1"})
			}
			ok(t, errorOf(l.Import(t.Context(), "alice", all, false)))
		}
		at := time.Now().Add(time.Hour)
		for range 10 {
			ok(t, errorOf(l.AcquireAny(t.Context(), "alice", Some{N: many / 10}, Remarks{End: End{At: at}})))
		}
		defer l.run(t)()
		mine := func() int {
			all, err := l.Mine(t.Context(), "alice")
			ok(t, err)
			return all.Len()
		}
		store.fails.Store(true)
		after(time.Hour + time.Minute)
		if n := mine(); n != many {
			t.Fatalf("%d of %d are held while the store fails", n, many)
		}
		store.fails.Store(false)
		after(endAgain)
		if n := mine(); n != 0 {
			t.Errorf("%d of %d are held still", n, many)
		}
	})
}

// A node that cannot be released, as its default image is damaged, keeps no others, and is
// released when that is mended. The log tells of it.
func TestHoldThatCannotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1", "n2", "n4", "n5")
		l.image(t, defaultOf("m2"))
		l.node(t, "n3", "m2")
		l.node(t, "n6", "m2")
		defer l.run(t)()
		l.hold(t, "bob", "n1,n2,n3,n4,n5", time.Hour)
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n6"), Remarks{Tied: true}, consent.Agreement{})))
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error { return images.Delete(tx, images.DefaultRef("m2")) })
		ok(t, err)
		after(time.Hour)
		equal(t, "owners", l.owners(t, "n1", "n2", "n3", "n4", "n5", "n6"), auth.Nobody, auth.Nobody, "bob", auth.Nobody, auth.Nobody, "bob")
		const told = ":  -> , the hold ended, but it cannot be released: the log of the server says why"
		got := l.events(t, journal.Sharing)
		if len(got) < 2 || got[len(got)-1] != "server n3"+told || got[0] != "server n6"+told {
			t.Errorf("the log tells %q", got)
		}
		l.image(t, defaultOf("m2"))
		after(asideFor)
		equal(t, "owners when it is mended", l.owners(t, "n3", "n6"), auth.Nobody, auth.Nobody)
	})
}

// failing is a store that takes no change while it fails.
type failing struct {
	state.Store
	fails atomic.Bool
}

func (s *failing) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	if s.fails.Load() {
		return 0, errors.New("the disk is full")
	}
	return s.Store.Update(ctx, f)
}

// After a restart the holds that were there before go on for some minutes, that their owners
// can extend them; those that begin then end when they are to.
func TestHoldsAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1", "n2", "n3", "n4")
		stop := l.run(t)
		l.hold(t, "bob", "n1,n2", time.Hour)
		l.hold(t, "bob", "n3", time.Hour+7*time.Minute)
		stop()
		after(time.Hour + time.Minute)
		l = l.again()
		defer l.run(t)()
		l.hold(t, "bob", "n4", time.Minute)
		after(time.Minute)
		equal(t, "after a minute", l.owners(t, "n1", "n2", "n3", "n4"), "bob", "bob", "bob", auth.Nobody)
		ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n2"), "m1-default", Remarks{End: End{After: 10 * time.Minute}}, consent.Agreement{})))
		after(4*time.Minute - time.Second)
		equal(t, "before the time of grace is over", l.owners(t, "n1", "n2", "n3"), "bob", "bob", "bob")
		after(time.Second)
		equal(t, "when it is over", l.owners(t, "n1", "n2", "n3"), auth.Nobody, "bob", "bob")
		after(time.Minute)
		equal(t, "a minute later", l.owners(t, "n2", "n3"), "bob", auth.Nobody)
		after(5 * time.Minute)
		equal(t, "when its new end comes", l.owners(t, "n2"), auth.Nobody)
	})
}

// When the clock is set forward, or the server stood still, holds go on for the same time;
// when it is set back they end when it shows their end.
func TestHoldsWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var set atomic.Int64
		store, err := badger.OpenMemory()
		ok(t, err)
		t.Cleanup(func() { ok(t, store.Close()) })
		l := over(store, func() time.Time { return time.Now().Round(0).Add(time.Duration(set.Load())) }, newShelf())
		ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
		l.image(t, defaultOf("m1"))
		for _, n := range []Name{"n1", "n2"} {
			l.node(t, n, "m1")
		}
		defer l.run(t)()
		l.hold(t, "alice", "n1", time.Hour)
		set.Store(int64(2 * time.Hour))
		after(holdsEvery)
		after(4 * time.Minute)
		equal(t, "set forward", l.owners(t, "n1"), "alice")
		after(time.Minute)
		equal(t, "when the time of grace is over", l.owners(t, "n1"), auth.Nobody)

		l.hold(t, "alice", "n2", time.Hour)
		set.Store(int64(time.Hour))
		after(119 * time.Minute)
		equal(t, "set back", l.owners(t, "n2"), "alice")
		after(time.Minute)
		equal(t, "when the clock shows it", l.owners(t, "n2"), auth.Nobody)
	})
}

// Holds that have an end by default are those of which their owners say nothing else.
func TestHoldsByDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1", "n2", "n3", "n4")
		defer l.run(t)()
		l.SetHolds(Holds{Default: 8 * time.Hour})
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})))
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n2"), Remarks{End: End{Never: true}}, consent.Agreement{})))
		l.hold(t, "bob", "n3", 9*time.Hour)
		after(time.Hour)
		ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n1"), "m1-default", Remarks{Note: "mine already"}, consent.Agreement{})))
		after(7 * time.Hour)
		equal(t, "owners", l.owners(t, "n1", "n2", "n3"), auth.Nobody, "bob", "bob")
		after(time.Hour)
		equal(t, "owners", l.owners(t, "n1", "n2", "n3"), auth.Nobody, "bob", auth.Nobody)
	})
}

// Owners set anew when their holds end, of all nodes of a set or none, up to the last
// second.
func TestExtendHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3", "n4")
		defer l.run(t)()
		l.hold(t, "bob", "n1,n2", time.Hour)
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n3"), Remarks{}, consent.Agreement{})))
		l.hold(t, "carol", "n4", time.Hour)
		l.unchanged(t, func() {
			_, err := l.Extend(t.Context(), "bob", parse("n1,n4"), End{After: time.Hour}, false)
			wantFault(t, err, fault.Failed, "n4 (owned by carol)")
			_, err = l.Extend(t.Context(), "bob", parse("n1,n9"), End{After: time.Hour}, false)
			wantFault(t, err, fault.Failed, "n9")
			_, err = l.Extend(t.Context(), "bob", Only("n1"), End{After: LongestHold}, false)
			wantFault(t, err, fault.Failed, "n1", "more than 10 years")
			r, err := l.Extend(t.Context(), "bob", Only("n3"), End{After: time.Hour}, false)
			ok(t, err)
			if ch := r.Changes[0]; ch.Changed || !ch.Until.IsZero() {
				t.Errorf("a hold without an end: %+v", ch)
			}
		})
		after(time.Hour - time.Second)
		r, err := l.Extend(t.Context(), "bob", parse("n1,n3"), End{After: 30 * time.Minute}, false)
		ok(t, err)
		if until := r.Changes[0].Until; time.Until(until) != 30*time.Minute+time.Second {
			t.Errorf("it ends at %v", until)
		}
		after(time.Second)
		equal(t, "owners", l.owners(t, "n1", "n2", "n3", "n4"), "bob", auth.Nobody, "bob", auth.Nobody)
		_, err = l.Extend(t.Context(), "bob", Only("n2"), End{After: time.Hour}, false)
		wantFault(t, err, fault.Failed, "n2 (free)")
		ok(t, errorOf(l.Extend(t.Context(), "bob", Only("n1"), End{Never: true}, false)))
		ok(t, errorOf(l.Extend(t.Context(), "bob", Only("n3"), End{At: time.Now().Add(time.Minute)}, false)))
		after(time.Hour)
		equal(t, "owners", l.owners(t, "n1", "n3"), "bob", auth.Nobody)
		told := l.events(t, journal.Sharing)
		if len(told) != 3 || !strings.HasPrefix(told[0], "bob n1:  -> , held until 2000-") || told[1] != "bob n1:  -> , held without an end" {
			t.Errorf("the log tells %q", told)
		}
	})
}

// Owners are told in their shells before their holds end, of all that end together at once;
// but of none that was so short from the start.
func TestWarnings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3", "n4", "n10")
		l.SetHolds(Holds{Warn: []time.Duration{15 * time.Minute, 5 * time.Minute}})
		defer l.run(t)()
		ctx, leave := context.WithCancel(t.Context())
		var mu sync.Mutex
		var told []string
		for shell := range 2 {
			go l.Warnings(ctx, "bob", func(w Warning) { // ends with ctx
				mu.Lock()
				defer mu.Unlock()
				text := fmt.Sprintf("%d: %s in %v", shell, strings.Join(w.Nodes, ","), time.Until(w.Until))
				for _, u := range w.Waits {
					text += ", for " + string(u)
				}
				told = append(told, text)
			})
		}
		wait := func(d time.Duration, want ...string) {
			t.Helper()
			after(d)
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(told)
			equal(t, fmt.Sprintf("after %v more", d), told, want...)
			told = nil
		}
		l.hold(t, "bob", "n10,n2", time.Hour)
		l.hold(t, "bob", "n1", 10*time.Minute)
		l.hold(t, "bob", "n3", 5*time.Minute)
		l.hold(t, "carol", "n4", time.Hour)
		wait(5*time.Minute - time.Second)
		wait(time.Second, "0: n1 in 5m0s", "1: n1 in 5m0s")
		wait(40*time.Minute - time.Second)
		wait(time.Second, "0: n2,n10 in 15m0s", "1: n2,n10 in 15m0s")
		ok(t, errorOf(l.Extend(t.Context(), "bob", Only("n2"), End{After: time.Hour}, false)))
		wait(10*time.Minute, "0: n10 in 5m0s", "1: n10 in 5m0s")
		waits := l.wait(t, "carol", Want{Set: Only("n2")}, Waiting{})
		wait(50*time.Minute, "0: n2 in 15m0s, for carol", "1: n2 in 15m0s, for carol")
		waits.cancel()
		leave()
		wait(10 * time.Minute)
		equal(t, "owners", l.owners(t, "n2", "n10"), "bob", auth.Nobody)
		if len(l.warned.shells) > 0 {
			t.Errorf("shells are kept: %v", l.warned.shells)
		}
	})
}

// A node that is tied to the connections of its owner is released half a minute after the
// last of them, unless one comes again; when the server starts that begins anew.
func TestTiedHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3")
		stop := l.run(t)
		connect := func(l testLab, user auth.Name, names ...Name) (leave func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ok(t, l.Tie(ctx, user, names))
			return cancel
		}
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{Tied: true}, consent.Agreement{})))
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n3"), Remarks{Tied: true, End: End{After: time.Hour}}, consent.Agreement{})))
		leave := connect(l, "bob", "n1", "n2", "n3")
		after(time.Hour)
		equal(t, "connected", l.owners(t, "n1", "n2", "n3"), "bob", "bob", auth.Nobody)
		leave()
		after(tieGrace - time.Second)
		equal(t, "just before", l.owners(t, "n1", "n2"), "bob", "bob")
		ok(t, errorOf(l.Extend(t.Context(), "bob", Only("n1"), End{}, true)))
		after(time.Second)
		equal(t, "half a minute after", l.owners(t, "n1", "n2"), "bob", auth.Nobody)
		leave = connect(l, "bob", "n1")
		also := connect(l, "bob", "n1")
		leave()
		after(time.Hour)
		equal(t, "with another connection", l.owners(t, "n1"), "bob")
		stop()
		also()

		l = l.again()
		stop = l.run(t)
		after(tieGrace - time.Second)
		equal(t, "after a restart", l.owners(t, "n1"), "bob")
		after(time.Second)
		equal(t, "half a minute later", l.owners(t, "n1"), auth.Nobody)

		// Who ties a node that was somebody's is not held on by their connection.
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{Tied: true}, consent.Agreement{})))
		leave = connect(l, "bob", "n1")
		gone := make(chan error, 1)
		go func() { gone <- l.Untied(t.Context(), "bob", []Name{"n1"}) }()
		ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{Tied: true}, consent.Agreement{Whoever: true})))
		ok(t, <-gone)
		after(tieGrace)
		equal(t, "without a connection of the new owner", l.owners(t, "n1"), auth.Nobody)
		leave()

		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{Tied: true}, consent.Agreement{})))
		ok(t, errorOf(l.Extend(t.Context(), "bob", Only("n1"), End{Never: true}, false)))
		after(time.Hour)
		equal(t, "not tied any more", l.owners(t, "n1"), "bob")
		if len(l.ties.open) > 0 || len(l.ties.loose) > 0 {
			t.Errorf("%v and %v are kept", l.ties.open, l.ties.loose)
		}
		stop()
	})
}

// slowly are agents whose machines take long to reboot.
type slowly struct{ liars }

func (slowly) Reboot(context.Context, Name) error {
	time.Sleep(2 * tieGrace)
	return nil
}

// The time that a node is held without a connection does not begin while its restart is waited
// for, by who acquires it or waited for it.
func TestTiedWhileItRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1")
		l.Agents = slowly{}
		defer l.run(t)()
		l.Up("n1", "10.0.0.1:22")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{Tied: true}, consent.Agreement{})))
		equal(t, "after the restart", l.owners(t, "n1"), "bob")
		carol := l.wait(t, "carol", Want{Set: Only("n1"), Remarks: Remarks{Tied: true}}, Waiting{})
		l.Up("n1", "10.0.0.1:22")
		after(tieGrace)
		equal(t, "carol gets", carol.gets(t), "n1")
		equal(t, "after the restart", l.owners(t, "n1"), "carol")
		after(tieGrace)
		equal(t, "without a connection", l.owners(t, "n1"), auth.Nobody)
	})
}
