package nodes

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// standing is a lab whose clock the test sets ahead, as it is for a server that stood
// still.
func standing(t *testing.T) (l testLab, ahead *atomic.Int64) {
	pair := newPair(t)
	ahead = new(atomic.Int64)
	l = over(pair.Store, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }, pair.library)
	l.grid.dead = true
	return l, ahead
}

// Machines that boot while the server stands still have their time afterwards.
func TestServerThatStoodCutsNoBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ahead := standing(t)
		l.configure(t, "v1", "boot.timeout=1m")
		l.configure(t, "v2", "boot.timeout=1m")
		l.run(t)
		equal(t, "started", l.grid.take(), "v1", "v2")
		time.Sleep(20 * time.Second)
		ahead.Add(int64(10 * time.Minute))
		time.Sleep(50 * time.Second) // more than their time, for one who did not see it stand
		equal(t, "cut before their time", l.grid.take())
		if s := l.state(t, "v1"); s.State != Booting {
			t.Errorf("it is %+v", s.Status)
		}
		time.Sleep(time.Minute)
		if cut := l.grid.take(); len(cut) != 2 {
			t.Errorf("after their time %v were cut", cut)
		}
	})
}

// Nodes whose agents went while the server stood still are asked before they are
// unreachable.
func TestServerThatStoodAsksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ahead := standing(t)
		var hangs atomic.Bool
		l.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if hangs.Load() {
				<-ctx.Done()
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			here, _ := net.Pipe()
			return here, nil
		}
		l.run(t)
		is := func(after time.Duration, want State) { t.Helper(); l.becomes(t, "v1", after, want) }
		l.comeUp(t, "v1")
		l.Lost("v1", l.Now(), "")
		is(time.Second, Up)
		ahead.Add(int64(10 * time.Minute)) // between two calls
		is(10*time.Second, Up)
		hangs.Store(true)
		is(5*time.Second, Up)
		ahead.Add(int64(10 * time.Minute)) // within one
		is(12*time.Second, Up)
		hangs.Store(false)

		l.comeUp(t, "v1")
		l.Lost("v1", l.Now().Add(-10*time.Minute), "") // its agent was silent all that time, for all that is known
		is(time.Minute, Up)
		hangs.Store(true)
		is(time.Minute, Unreachable)
	})
}
