package nodes

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/journal"
)

// The power of a board whose firmware has stopped is cut for a moment where its port
// allows it, boot.retries times; else it is told what is wrong, until it asks again.
func TestAsleep(t *testing.T) {
	t.Parallel()
	const why = "its firmware asked 5 times for its address, and for no file"
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 2*time.Hour, []auth.Name{"bob"}, "n1", "n2")
		stop := l.run(t)
		defer stop()
		l.configure(t, "n1", "boot.retries=2")
		var want []string
		for i, how := range []string{"power cycle 1 of 2", "power cycle 2 of 2", "left alone after 2 power cycles"} {
			ok(t, l.Asleep(t.Context(), macOf("n1"), why))
			synctest.Wait()
			time.Sleep(10 * time.Second)
			cycles := []string{"one:161/1"}
			if i == 2 {
				cycles = nil
			}
			equal(t, "power cycles", r.Cycles(), cycles...)
			want = append(want, "server n1:  -> , "+why+": "+how)
		}
		if s := l.state(t, "n1"); s.State != Unreachable || s.Why != why+": left alone after 2 power cycles" {
			t.Errorf("it is %+v", s.Status)
		}
		told := l.events(t, journal.Power)
		for _, w := range want {
			if !strings.Contains(strings.Join(told, "\n"), w) {
				t.Errorf("the log has no %q: %v", w, told)
			}
		}

		// What a user switched off stays so.
		ok(t, l.PowerOff(t.Context(), "bob", parse("n2"), true, consent.Agreement{}, func(Change) {}))
		r.Cycles()
		ok(t, l.Asleep(t.Context(), macOf("n2"), why))
		time.Sleep(10 * time.Second)
		equal(t, "power cycles of what is off", r.Cycles())

		// A device without a port, and without a model, is told about until it asks again.
		d, err := l.Met(t.Context(), Arrival{MAC: "b8:27:eb:00:00:99", Host: "stranger"})
		ok(t, err)
		ok(t, l.Asleep(t.Context(), d.MAC, why))
		if s := l.state(t, d.Name); s.State != Unreachable || s.Why != why+": left alone, since the server has no means to cut its power" {
			t.Errorf("it is %+v", s.Status)
		}
		_, err = l.Met(t.Context(), Arrival{MAC: d.MAC})
		ok(t, err)
		if s := l.state(t, d.Name); s.State != Off || s.Why != "" {
			t.Errorf("when it asks again it is %+v", s.Status)
		}
		ok(t, l.Asleep(t.Context(), "b8:27:eb:00:00:ff", why)) // which nobody knows
	})
}

// Who waits for a node is told how often its power was cut meanwhile.
func TestWaitTellsOfPowerCycles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, _ := wired(t, 2*time.Hour, []auth.Name{"bob"}, "n1")
		stop := l.run(t)
		defer stop()
		ctx, cancel := context.WithCancel(t.Context())
		set := l.state(t, "n1").Device
		waited := make(chan []Missing)
		go func() { // ends with ctx
			var told []Missing
			_, _ = l.Wait(ctx, []*Device{set}, func(m []Missing) { told = append(told, m...) })
			waited <- told
		}()
		for range 2 {
			synctest.Wait()
			ok(t, l.Asleep(t.Context(), macOf("n1"), "it sleeps"))
			time.Sleep(10 * time.Second)
		}
		cancel()
		told := <-waited
		if last := told[len(told)-1]; last != (Missing{"n1", Booting, 2}) || told[0].Cycles != 0 {
			t.Errorf("it is told %v", told)
		}
	})
}
