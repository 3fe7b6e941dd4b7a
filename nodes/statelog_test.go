package nodes

import (
	"context"
	"log/slog"
	"strings"
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
)

// states returns what the log told of states since the last call.
func (l testLab) states(t *testing.T, told *int) []string {
	t.Helper()
	synctest.Wait()
	all := l.events(t, journal.State)
	fresh := all[*told:]
	*told = len(all)
	return fresh
}

// The log tells when a virtual node came up, after how long, and who made it go
// down; each once, also when the server starts again, and when it was killed.
func TestLogTellsOfVirtualNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		var told int
		stop := l.run(t)
		time.Sleep(42 * time.Second)
		l.comeUp(t, "v1")
		equal(t, "up", l.states(t, &told), "server v1: booting -> up, after 42s")

		whoever := consent.Agreement{Whoever: true}
		for _, step := range []struct {
			what, told string
			do         func() error
		}{
			{"reboot", "bob v1: up -> booting, rebooted", func() error {
				return l.Reboot(t.Context(), "bob", parse("v1"), true, whoever, func(Change) {})
			}},
			{"acquire", "carol v1: up -> booting, acquired", func() error { return errorOf(l.Acquire(t.Context(), "carol", parse("v1"), Remarks{}, whoever)) }},
			{"boot", "carol v1: up -> booting, boots another image", func() error {
				img := images.Image{Ref: ref("carol/other"), Digest: sum("other"), Models: []images.Model{"m1"}}
				l.image(t, img)
				return errorOf(l.SetImage(t.Context(), "carol", parse("v1"), "other", Remarks{}, whoever))
			}},
			{"another image of that name", "carol v1: up -> booting, its image was replaced", func() error {
				return errorOf3(l.clone(t.Context(), images.DefaultRef("m1"), ref("carol/other"), true, whoever))
			}},
			{"release", "carol v1: up -> booting, released", func() error { return errorOf(l.Release(t.Context(), "carol", parse("v1"))) }},
			{"reboot on the node", "server v1: up -> booting, rebooted from inside", func() error { l.Down("v1", true, ""); return nil }},
			{"damage", "server v1: up -> unreachable, its disk is gone", func() error { l.Failed("v1", fault.Failedf("its disk is gone")); return nil }},
		} {
			ok(t, step.do())
			if s := l.state(t, "v1").State; s != Booting && step.what != "damage" {
				t.Errorf("right after %s it is %s", step.what, s)
			}
			l.Down("v1", true, "") // by its host, before it starts anew
			equal(t, step.what, l.states(t, &told), step.told)
			time.Sleep(1500 * time.Millisecond)
			l.comeUp(t, "v1")
			l.Up("v1", "127.0.0.1:1") // it says so again
			equal(t, "up again", l.states(t, &told), "server v1: booting -> up, after 1.5s")
		}
		_, err := l.Rename(t.Context(), "bob", "v1", "v3", whoever)
		ok(t, err)
		equal(t, "renamed", l.states(t, &told), "bob v3: up -> booting, renamed")
		l.comeUp(t, "v3")
		equal(t, "up again", l.states(t, &told), "server v3: booting -> up, after 0s")

		stop()
		equal(t, "the server stops", l.states(t, &told), "server v3: up -> off, its host stopped")
		time.Sleep(time.Second)
		l = l.again()
		l.grid.dead = true
		l.run(t)
		equal(t, "it starts", l.states(t, &told))
		l.comeUp(t, "v3")
		equal(t, "up", l.states(t, &told), "server v3: booting -> up, after 0s")

		time.Sleep(time.Second)
		l = l.again() // the other was killed, for all that the new one knows
		l.grid.dead = true
		l.run(t)
		equal(t, "it starts after a crash", l.states(t, &told), "server v3: up -> off, its host stopped")
		l.comeUp(t, "v3")
		equal(t, "up", l.states(t, &told), "server v3: booting -> up, after 0s")
		_, err = l.Remove(t.Context(), "bob", parse("v3"), whoever)
		ok(t, err)
		equal(t, "removed", l.states(t, &told))
		rows, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]string, error) { return upSince.AllKeys(r, "") })
		if err != nil || len(rows) != 0 {
			t.Errorf("left are %q, %v", rows, err)
		}
	})
}

// A physical node outlives the server: the log tells nothing of a node that is up
// before and after, and of one that is not any more, once that is known.
func TestLogTellsOfPhysicalNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := wired(t, time.Hour, []auth.Name{"bob"}, "n1", "n2")
		var told int
		for _, n := range []Name{"n1", "n2"} {
			_, err := l.Boot(t.Context(), n)
			ok(t, err)
			time.Sleep(10 * time.Second)
			l.Up(n, "192.0.2.1:22")
		}
		stop := l.run(t)
		equal(t, "up", l.states(t, &told), "server n1: booting -> up, after 10s", "server n2: booting -> up, after 10s")
		_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		equal(t, "acquired", l.states(t, &told), "bob n1: up -> booting, acquired")
		time.Sleep(5 * time.Second)
		l.comeUp(t, "n1")
		equal(t, "up again", l.states(t, &told), "server n1: booting -> up, after 5s")
		stop()

		time.Sleep(time.Second)
		l = l.again()
		ok(t, l.stateLog.recall(t.Context()))
		ok(t, l.recallAddresses(t.Context()))
		answers := func(n Name) { l.status.change(n, func(s *Status) { s.State, s.untold = Up, false }) }
		silent := func(n Name) { l.status.change(n, func(s *Status) { s.State, s.untold = Unreachable, false }) }
		told = len(l.events(t, journal.State))
		answers("n1")
		silent("n2")
		_, err = l.stateLog.tell(t.Context(), l.status.takeEdges())
		ok(t, err)
		equal(t, "after the start", l.states(t, &told), "server n2: up -> unreachable, lost: not heard of since the server started")
		silent("n1")
		answers("n1")
		answers("n2")
		_, err = l.Boot(t.Context(), "n2")
		ok(t, err)
		_, err = l.stateLog.tell(t.Context(), l.status.takeEdges())
		ok(t, err)
		equal(t, "later", l.states(t, &told), "server n1: up -> unreachable, lost: not heard of since the server started", "server n1: unreachable -> up, answers again",
			"server n2: unreachable -> up, answers again", "server n2: up -> booting, started anew by itself")
	})
}

// Saving power is a reason too.
func TestLogTellsOfPowerSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := wired(t, time.Hour, nil, "n1")
		var told int
		l.comeUp(t, "n1")
		l.run(t)
		l.states(t, &told)
		l.status.change("n1", func(s *Status) { s.Addr = "" }) // which nobody calls
		time.Sleep(3 * time.Hour)
		equal(t, "idle", l.states(t, &told), "server n1: up -> off, power saving: nobody needs it")
	})
}

// A node that refuses to reboot by itself did not go down.
func TestLogTellsNothingOfWhatDidNotHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		var told int
		l.run(t)
		l.comeUp(t, "v1")
		l.states(t, &told)
		d := l.device(t, "v1")
		s := l.status.of("v1")
		s.Addr = "" // so that it cannot be called
		if err := l.soft(t.Context(), d, s, cause{"bob", "rebooted"}); err == nil {
			t.Fatal("it accepted")
		}
		equal(t, "refused", l.states(t, &told))
	})
}

// full is a store that takes nothing while it is full.
type full struct {
	state.Store
	now atomic.Bool
}

func (f *full) Update(ctx context.Context, work func(state.Tx) error) (state.Version, error) {
	if f.now.Load() {
		return 0, fault.Failedf("the disk is full")
	}
	return f.Store.Update(ctx, work)
}

// What happens to nodes while the disk is full is in the log when that has room again. The
// server's own log tells once that it cannot be written.
func TestLogOfAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		disk := &full{Store: l.Store}
		var log strings.Builder
		l.Store, l.stateLog.store = disk, disk
		l.Log = slog.New(slog.NewTextHandler(&log, nil))
		l.stateLog.log = l.Log
		var told int
		stop := l.run(t)
		l.comeUp(t, "v1")
		l.comeUp(t, "v2")
		equal(t, "up", l.states(t, &told), "server v1: booting -> up, after 0s", "server v2: booting -> up, after 0s")

		disk.now.Store(true)
		for _, n := range []Name{"v1", "v2", "v1", "v2"} {
			l.Failed(n, fault.Failedf("its disk is gone"))
			synctest.Wait()
		}
		time.Sleep(3 * tellAgain)
		equal(t, "while the disk is full", l.states(t, &told))
		disk.now.Store(false)
		time.Sleep(tellAgain)
		equal(t, "when it has room", l.states(t, &told), "server v1: up -> unreachable, its disk is gone", "server v2: up -> unreachable, its disk is gone")
		stop()
		for _, what := range []string{"which nodes came up or went down", "note that a node cannot boot"} {
			if n := strings.Count(log.String(), what); n != 1 {
				t.Errorf("the log has %d times %q:\n%s", n, what, &log)
			}
		}
	})
}
