package nodes

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/journal"
)

// A board that begins to boot is seen at each step, stays at the one at which it fails, and
// one that never asked is told from it.
func TestStepsOfBoards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "n1")
		defer l.run(t)()
		at := func(n Name, state State, step Step, words string) {
			t.Helper()
			synctest.Wait()
			s := l.state(t, n)
			done, still := s.Step.Reached()
			if s.State != state || s.Step != step || done+", "+still != words {
				t.Errorf("it is %s at %q: %s, %s; want %s at %q: %s", s.State, s.Step, done, still, state, step, words)
			}
		}
		reach := func(steps ...Step) {
			for _, s := range steps {
				l.Reached(t.Context(), "n1", s)
			}
		}
		at("n1", Off, "", ", ")
		reach(StepLoader) // it is nobody's who did not ask
		at("n1", Off, "", ", ")
		reach(StepAddress)
		at("n1", Booting, StepAddress, "asked for its address, has not loaded anything")
		reach(StepLoader, StepAddress) // the firmware tries again
		at("n1", Booting, StepAddress, "asked for its address, has not loaded anything")
		reach(StepLoader, StepChained)
		_, err := l.Boot(t.Context(), "n1")
		ok(t, err)
		reach(StepKernel, StepLoader) // a part of the former comes late
		at("n1", Booting, StepKernel, "loaded its kernel, has not mounted its root")
		time.Sleep(181 * time.Second)
		at("n1", Unreachable, StepKernel, "loaded its kernel, has not mounted its root")
		var told []string
		for _, e := range l.gaveUp(t) {
			told = append(told, e.Step)
		}
		equal(t, "the log has the steps", told, "kernel")

		// It comes up after all, reboots by itself while its agent is there, and then when
		// that is gone.
		reach(StepAddress, StepChained, StepKernel, StepInitramfs, StepMounting, StepRoot)
		l.Up("n1", "192.0.2.1:22")
		at("n1", Up, StepUp, "was up, ")
		reach(StepAddress)
		at("n1", Up, StepUp, "was up, ")
		l.status.change("n1", func(s *Status) { s.alone = l.Now() })
		reach(StepAddress)
		at("n1", Booting, StepAddress, "asked for its address, has not loaded anything")
	})
}

// A board that stays at a step on a port that the server may work is told by that step, in
// its status and the log, its power is cut, and it comes up.
func TestBoardStuckAtAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 0, nil, "n1")
		defer l.run(t)()
		boot := func(steps ...Step) {
			for _, s := range append([]Step{StepAddress, StepLoader, StepAddress, StepLoader, StepChained}, steps...) { // its loader has one of its own
				l.Reached(t.Context(), "n1", s)
				if s == StepChained {
					_, err := l.Boot(t.Context(), "n1")
					ok(t, err)
				}
			}
		}
		boot(StepKernel)
		time.Sleep(12 * time.Second)
		s := l.state(t, "n1")
		if done, still := s.Step.Reached(); s.State != Booting || done+", "+still != "loaded its kernel, has not mounted its root" || time.Since(s.StepSince) != 12*time.Second {
			t.Errorf("after 12 s it is %+v", s.Status)
		}
		equal(t, "power cycles before its time is over", r.Cycles())
		time.Sleep(175 * time.Second)
		synctest.Wait()
		equal(t, "power cycles", r.Cycles(), "one:161/1")
		const why = "in its last boot it loaded its kernel, and has not mounted its root; not up after 3m0s: power cycle 1 of 9"
		if s := l.state(t, "n1"); s.State != Booting || s.Step != StepNone || s.Why != why {
			t.Errorf("after that it is %+v", s.Status)
		}
		told := l.gaveUp(t)
		if len(told) != 1 || told[0].Step != "kernel" || told[0].Detail != "not up after 3m0s: power cycle 1 of 9" {
			t.Errorf("the log has %+v", told)
		}
		boot(StepKernel, StepInitramfs, StepMounting, StepRoot)
		l.Up("n1", "127.0.0.1:1")
		synctest.Wait()
		if s := l.state(t, "n1"); s.State != Up || s.Why != "" {
			t.Errorf("in the end it is %+v", s.Status)
		}
		time.Sleep(time.Hour)
		equal(t, "power cycles later", r.Cycles())
	})
}

// A board that reboots in circles is given up though each round is quick.
func TestBoardInCircles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "n1")
		defer l.run(t)()
		for range 60 {
			l.Reached(t.Context(), "n1", StepAddress)
			l.Reached(t.Context(), "n1", StepLoader)
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if told := l.gaveUp(t); len(told) == 0 || told[0].Step != "loader" {
			t.Errorf("the log tells %+v", told)
		}
	})
}

// An operating system that asks for the address of a node which does not boot from the
// server was booted by something else.
func TestStrayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "n1")
		defer l.run(t)()
		strays := func(want State) {
			t.Helper()
			l.Strayed(t.Context(), "n1")
			synctest.Wait()
			s := l.state(t, "n1")
			if s.State != want || (want == Unreachable) != strings.Contains(s.Why, "asked for an address without loading anything: booted from its own disk") {
				t.Errorf("it is %s: %s, want %s", s.State, s.Why, want)
			}
		}
		strays(Unreachable)
		strays(Unreachable)
		if n := len(l.gaveUp(t)); n != 1 {
			t.Errorf("the log tells it %d times", n)
		}
		l.Reached(t.Context(), "n1", StepAddress)
		strays(Unreachable)
		l.Reached(t.Context(), "n1", StepAddress)
		_, err := l.Boot(t.Context(), "n1")
		ok(t, err)
		l.Reached(t.Context(), "n1", StepKernel)
		strays(Booting) // that of its image
		l.Up("n1", "192.0.2.1:22")
		strays(Up)
	})
}

// What a boot left is kept of the last one: its steps, what they took, and what was refused.
func TestTrail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "n1")
		defer l.run(t)()
		legs := func(want ...string) {
			t.Helper()
			var got []string
			for _, leg := range l.Trail("n1").Legs {
				text := string(leg.Step)
				if leg.At.IsZero() {
					text += " not yet"
				}
				if leg.Bytes > 0 {
					text += " " + leg.Took.String()
				}
				got = append(got, text)
			}
			equal(t, "legs", got, want...)
		}
		l.Reached(t.Context(), "n1", StepAddress)
		l.Sent(t.Context(), "n1", StepLoader, 100, time.Second)
		legs("address", "loader not yet 1s")
		l.Reached(t.Context(), "n1", StepLoader)
		l.Reached(t.Context(), "n1", StepChained)
		l.Sent(t.Context(), "n1", StepLoader, 100, time.Second)
		legs("address", "loader 2s")
		for i := range 20 {
			l.Refused(t.Context(), "n1", "TFTP file"+strings.Repeat("x", i), "there is no such file")
			l.Refused(t.Context(), "n1", "TFTP bootsig.bin\n\x1b[2J", "there is no such file")
		}
		refused := l.Trail("n1").Refused
		last := refused[len(refused)-1]
		if len(refused) != refusals || last.Times != 20 || last.File != "TFTP bootsig.bin [2J" {
			t.Errorf("%d are kept, the last of them is %+v", len(refused), last)
		}
		l.Reached(t.Context(), "n1", StepAddress) // the next boot
		legs("address")
		l.Sent(t.Context(), "gone", StepLoader, 1, 0)
		if slices.Contains([]bool{len(l.Trail("n1").Refused) == 0, l.status.trails["gone"] == nil}, false) {
			t.Error("something is left of another one")
		}
	})
}

func TestStepWords(t *testing.T) {
	t.Parallel()
	var words []string
	for i, m := range milestones {
		if m.step.order() != i {
			t.Errorf("%s has the place %d", m.step, m.step.order())
		}
		if w := m.step.Word(); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	equal(t, "words", words, "none", "address", "loader", "kernel", "initramfs", "root", "up")
	if got := Step("dancing").Word() + Step("").Stands(); got != "" {
		t.Errorf("what is no step is %q", got)
	}
}

// gaveUp are the events of nodes that do not come up.
func (l testLab) gaveUp(t *testing.T) (all []journal.Event) {
	t.Helper()
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Power {
			all = append(all, e)
		}
		return nil
	})))
	return all
}
