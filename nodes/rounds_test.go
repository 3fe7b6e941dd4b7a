package nodes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/pause"
)

// stand is a host of one node, which boots as the test says, a boot after the other, and
// then always as in the last of them.
type stand struct {
	lab *Lab

	mu    sync.Mutex
	boots []func(context.Context, Name)
	cut   context.CancelFunc // of the present boot
}

func (b *stand) Resume(context.Context, Name) bool { return false }

func (b *stand) Start(n Name) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	boot := b.boots[0]
	if len(b.boots) > 1 {
		b.boots = b.boots[1:]
	}
	b.cut()
	var ctx context.Context
	ctx, b.cut = context.WithCancel(context.Background())
	go func() { // ends when its power is cut, or it is up or has failed
		if _, err := b.lab.Boot(ctx, n); err == nil {
			boot(ctx, n)
		}
	}()
	return nil
}

func (b *stand) Stop(n Name) {
	b.mu.Lock()
	b.cut()
	b.mu.Unlock()
	b.lab.Down(n, false, "")
}

// then has the next boots be as these.
func (b *stand) then(boots ...func(context.Context, Name)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.boots = boots
}

// newStand is a lab with the free node n1 on a stand, which is up.
func newStand(t *testing.T) (testLab, *stand) {
	t.Helper()
	l := newLab(t, []auth.Name{"bob"})
	b := &stand{lab: l.Lab, cut: func() {}}
	b.then(b.comesUp)
	l.Hosts[Simulated] = b
	l.run(t)
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "n1", MAC: macOf("n1"), Model: "m1", Host: Simulated})
	ok(t, err)
	l.becomes(t, "n1", 10*time.Second, Up)
	return l, b
}

// comesUp has a node be up after 5 s.
func (b *stand) comesUp(ctx context.Context, n Name) {
	if pause.For(ctx, 2*time.Second) != nil {
		return
	}
	b.lab.Reached(ctx, n, StepInitramfs)
	if pause.For(ctx, 3*time.Second) == nil {
		b.lab.Up(n, "127.0.0.1:1")
	}
}

// test tests n1, and returns the verdict with what each round came to.
func (l testLab) test(t *testing.T, ctx context.Context, trial Trial, each func(Round)) (v Verdict, told []string, err error) {
	t.Helper()
	n := l.device(t, "n1")
	v, err = l.Test(ctx, "alice", &n, trial, func(int, Status) {}, func(r Round) {
		told = append(told, fmt.Sprintf("%d %s %v %s", r.Number, r.At, r.Took, r.Why))
		each(r)
	})
	kept, tested, bad := l.VerdictOn(t.Context(), &n)
	ok(t, bad)
	if tested != (v.Rounds > 0) || kept.Words() != v.Words() && tested {
		t.Errorf("kept is %+v, want %+v", kept, v)
	}
	return v, told, err
}

func TestRoundsOfTests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := newStand(t)
		hangs := func(ctx context.Context, n Name) { l.Reached(ctx, n, StepInitramfs) }
		fails := func(_ context.Context, n Name) { l.Failed(n, fault.Failedf("its image has no init")) }
		circles := func(ctx context.Context, n Name) {
			l.Reached(ctx, n, StepInitramfs)
			if pause.For(ctx, time.Second) == nil {
				l.Down(n, true, "kernel panic")
			}
		}
		// The one that hangs is started anew once before the next round.
		b.then(b.comesUp, fails, hangs, b.comesUp, b.comesUp, circles, b.comesUp)
		v, told, err := l.test(t, t.Context(), Trial{Rounds: 5, Hard: true, Limit: time.Hour}, func(Round) {})
		ok(t, err)
		equal(t, "rounds", told,
			"1 up 5s ",
			"2 kernel 0s its image has no init",
			"3 initramfs 3m0s not up after 3m0s",
			"4 up 5s ",
			"5 initramfs 1s kernel panic")
		const words = "came up in 2 of 5 rounds (median 5.0 s); once it went no further than kernel: its image has no init; " +
			"once it went no further than initramfs: not up after 3m0s; once it went no further than initramfs: kernel panic"
		if v.Words() != words {
			t.Errorf("it %s\nwant: %s", v.Words(), words)
		}
		equal(t, "steps", v.Steps,
			StepSpread{StepKernel, Spread{}},
			StepSpread{StepInitramfs, Spread{0, time.Second, 2 * time.Second}},
			StepSpread{StepUp, Spread{3 * time.Second, 3 * time.Second, 3 * time.Second}})
		var last string
		for _, e := range l.events(t, "power") {
			if strings.Contains(e, "tested") {
				last = e
			}
		}
		if last != "alice n1:  -> , tested: it "+words {
			t.Errorf("the log has %q", last)
		}
	})
}

// A round that goes on for ever ends.
func TestRoundTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := newStand(t)
		b.then(func(ctx context.Context, n Name) { l.Prepares(ctx, n, true) })
		_, told, err := l.test(t, t.Context(), Trial{Rounds: 2, Limit: time.Minute}, func(Round) {})
		ok(t, err)
		equal(t, "rounds", told, "1 kernel 1m0s not up after 1m0s", "2 kernel 1m0s not up after 1m0s")
	})
}

// What ends a test before all its rounds: what is known by then is kept.
func TestTestsThatEnd(t *testing.T) {
	for what, c := range map[string]struct {
		does  func(*testing.T, testLab, context.CancelFunc)
		early string
	}{
		"interrupted": {func(_ *testing.T, _ testLab, stop context.CancelFunc) { stop() }, "interrupted"},
		"acquired": {func(t *testing.T, l testLab, _ context.CancelFunc) {
			ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})))
		}, "n1 changed hands"},
		"renamed": {func(t *testing.T, l testLab, _ context.CancelFunc) {
			ok(t, errorOf(l.Rename(t.Context(), "bob", "n1", "n2", consent.Agreement{})))
		}, "n1 is called n2 now"},
		"removed": {func(t *testing.T, l testLab, _ context.CancelFunc) {
			ok(t, errorOf(l.Remove(t.Context(), "bob", Only("n1"), consent.Agreement{})))
		}, "n1 was removed meanwhile"},
		"rebooted": {func(t *testing.T, l testLab, _ context.CancelFunc) {
			time.Sleep(time.Second)
			ok(t, l.Reboot(t.Context(), "bob", Only("n1"), true, consent.Agreement{}, func(Change) {}))
		}, "somebody else started n1 anew in round 2"},
		"switched off": {func(t *testing.T, l testLab, _ context.CancelFunc) {
			time.Sleep(time.Second)
			ok(t, l.PowerOff(t.Context(), "bob", Only("n1"), true, consent.Agreement{}, func(Change) {}))
		}, "n1 is off: bob switched it off at 2000-01-01 00:00 UTC"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, _ := newStand(t)
				ctx, stop := context.WithCancel(t.Context())
				t.Cleanup(stop)
				n := l.device(t, "n1")
				v, err := l.Test(ctx, "alice", &n, Trial{Rounds: 3, Hard: true, Limit: time.Hour}, func(int, Status) {}, func(Round) {
					go c.does(t, l, stop)
				})
				if err == nil || v.Early != c.early || v.Rounds != 1 || v.Up != 1 {
					t.Errorf("it ended with %v, %+v; want %q", err, v, c.early)
				}
				if what == "interrupted" && !errors.Is(err, context.Canceled) {
					t.Errorf("it ended with %v", err)
				}
				time.Sleep(time.Minute) // what others began has ended
			})
		})
	}
}

// A node is tested by one at a time, and only while it can be started.
func TestTestsThatCannotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newStand(t)
		l.node(t, "board", "m1")
		board := l.device(t, "board")
		trial := Trial{Rounds: 3, Limit: time.Hour}
		none := func(Round) {}
		v, err := l.Test(t.Context(), "alice", &board, trial, func(int, Status) {}, none)
		wantFault(t, err, fault.Failed, "no means to start board anew")
		if _, tested, err := l.VerdictOn(t.Context(), &board); tested || err != nil || v.Rounds != 0 {
			t.Errorf("a test without a round is kept: %+v, %v", v, err)
		}
		_, _, err = l.test(t, t.Context(), trial, func(Round) {
			n := l.device(t, "n1")
			_, err := l.Test(t.Context(), "bob", &n, trial, func(int, Status) {}, none)
			wantFault(t, err, fault.InUse, "alice tests n1 already")
		})
		ok(t, err)
	})
}

// The verdict goes with the device.
func TestVerdictIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newStand(t)
		n := l.device(t, "n1")
		_, _, err := l.test(t, t.Context(), Trial{Rounds: 1, Limit: time.Hour}, func(Round) {})
		ok(t, err)
		ok(t, errorOf(l.Remove(t.Context(), "alice", Only("n1"), consent.Agreement{})))
		if _, tested, err := l.VerdictOn(t.Context(), &n); tested || err != nil {
			t.Errorf("it is still there: %v", err)
		}
	})
}
