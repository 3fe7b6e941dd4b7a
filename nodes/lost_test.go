package nodes

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/journal"
)

// A node whose agent is gone is up as long as its SSH server answers, and unreachable
// when nothing came of it for 15 s, with what may be the reason.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		var answers, hangs atomic.Bool
		answers.Store(true)
		l.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if hangs.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if !answers.Load() {
				return nil, errors.New("refused")
			}
			here, _ := net.Pipe()
			return here, nil
		}
		l.run(t)
		is := func(after time.Duration, want State) { t.Helper(); l.becomes(t, "v1", after, want) }
		l.Lost("v1", l.Now(), "") // it does not even boot
		l.comeUp(t, "v1")
		l.Lost("v1", l.Now(), "")
		is(time.Hour, Up) // SSH answers
		answers.Store(false)
		is(11*time.Second, Up)
		is(4*time.Second, Unreachable)
		l.comeUp(t, "v1")
		is(time.Hour, Up) // its agent is back, which is enough

		var told int
		l.states(t, &told)
		hangs.Store(true)
		time.Sleep(time.Second)
		l.Lost("v1", l.Now().Add(-10*time.Second), "its disk was full")
		is(4*time.Second, Up)
		is(time.Second, Unreachable)
		const why = "nothing came of it for 15s, and its SSH server does not answer; its disk was full"
		if s := l.state(t, "v1"); s.Why != why || s.Addr == "" || s.Running().Digest == "" {
			t.Errorf("it is %+v", s.Status)
		}
		equal(t, "told", l.states(t, &told), "server v1: up -> unreachable, lost: "+why)

		l.comeUp(t, "v1")
		hangs.Store(false)
		l.Lost("v1", l.Now(), "")
		is(5*time.Second, Up)
		l.Down("v1", false, "power cut") // its host knows better
		is(time.Minute, Off)
	})
}

// Why a node went down is told: by hand, by its kernel, from outside. A boot that ends so
// has failed, and one that begins again and again does, too.
func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.run(t)
		l.configure(t, "v1", "boot.retries=2")
		var told int
		l.comeUp(t, "v1")
		l.states(t, &told)
		for _, step := range []struct {
			do        func()
			why, told string
		}{
			{func() { l.Down("v1", true, "") }, "rebooted from inside", "up -> booting"},
			{func() { l.Down("v1", false, "") }, "switched off from inside", "up -> off"},
			{func() { l.Down("v1", false, "power cut") }, "power cut", "up -> off"},
			{func() {
				if !l.Crashed("v1", "kernel panic: bug") {
					t.Error("it was up, and does not start again")
				}
			}, "kernel panic: bug", "up -> booting"},
		} {
			step.do()
			if s := l.state(t, "v1"); s.Why != step.why || s.Running().Digest != "" {
				t.Errorf("%s: it is %+v", step.why, s.Status)
			}
			equal(t, step.why, l.states(t, &told), "server v1: "+step.told+", "+step.why)
			_, err := l.Boot(t.Context(), "v1")
			ok(t, err)
			if s := l.state(t, "v1"); s.State == Booting && strings.HasSuffix(step.told, "booting") && s.Why != step.why {
				t.Errorf("why it boots is forgotten: %+v", s.Status)
			}
			l.Up("v1", "127.0.0.1:1")
			if s := l.state(t, "v1"); s.Why != "" {
				t.Errorf("up, it is %+v", s.Status)
			}
			l.states(t, &told)
		}

		l.Down("v1", true, "")
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		if l.Crashed("v1", "kernel panic: no root") {
			t.Error("a boot that crashed goes on")
		}
		if s := l.state(t, "v1"); s.State != Unreachable || !s.Failed || s.Why != "kernel panic: no root" {
			t.Errorf("it is %+v", s.Status)
		}

		l.comeUp(t, "v1")
		l.Down("v1", true, "")
		for range 2 {
			_, err := l.Boot(t.Context(), "v1")
			ok(t, err)
			l.Down("v1", true, "")
		}
		_, err = l.Boot(t.Context(), "v1")
		ok(t, err)
		l.Down("v1", true, "")
		_, err = l.Boot(t.Context(), "v1")
		wantFault(t, err, fault.Failed, "again and again")
		if len(l.events(t, journal.Power)) == 0 {
			t.Error("the failed boot is not in the log")
		}
	})
}

// A machine that waits for the server is not cut.
func TestPreparingIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.run(t)
		l.comeUp(t, "v2")
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		l.Prepares(t.Context(), "v1", true)
		l.grid.take()
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "cut", l.grid.take())
		l.Prepares(t.Context(), "v1", false)
		time.Sleep(181 * time.Second)
		synctest.Wait()
		equal(t, "cut", l.grid.take(), "v1")
	})
}

// A machine that takes its root file system for longer than its boot.timeout is not cut,
// and is when it stands still.
func TestTakingIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		agents := &ordered{}
		l.Agents = agents
		l.run(t)
		l.comeUp(t, "v2")
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		l.Reached(t.Context(), "v1", StepMounting)
		l.grid.take()
		for range 10 {
			agents.taken.Add(1 << 20)
			time.Sleep(170 * time.Second)
		}
		synctest.Wait()
		equal(t, "cut while it takes some", l.grid.take())
		time.Sleep(2 * 181 * time.Second)
		synctest.Wait()
		equal(t, "cut when it stands still", l.grid.take(), "v1")
	})
}

// A kernel for which the memory is too little cannot tell, so it is told of the machine.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	for host, says := range map[HostKind]string{QEMU: ": 64M of memory is less than many kernels need; see the setting ram", Simulated: "", Physical: ""} {
		if got := (Device{Host: host, Own: &Settings{RAM: 64}}).littleMemory(); got != says {
			t.Errorf("%s: %q", host, got)
		}
	}
	if got := (Device{Host: QEMU}).littleMemory(); got != "" {
		t.Errorf("with as much as usual: %q", got)
	}
}

// Of a machine that stands with a panic, as its image may have it, that is the reason.
func TestLostToAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.Hosts[Simulated] = &speaking{grid: l.grid, wrote: "login: \r\nKernel panic - not syncing: bug\r\nCPU: 0\r\n"}
		l.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
		l.run(t)
		l.comeUp(t, "v1")
		l.Lost("v1", l.Now(), "")
		time.Sleep(lostLimit + time.Second)
		synctest.Wait()
		if s := l.state(t, "v1"); s.State != Unreachable || !strings.HasSuffix(s.Why, "; kernel panic: bug") {
			t.Errorf("it is %+v", s.Status)
		}
	})
}
