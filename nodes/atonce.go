package nodes

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"walt/fault"
)

// restartsAtOnce is how many nodes one command restarts at the same time.
const restartsAtOnce = 256

// atOnce restarts all devices at the same time, as works, and calls each with what came
// of every one. They go on when ctx ends and atOnce returns. Those that are quick, which
// wait for nothing, have their turns here.
func atOnce[D any](ctx context.Context, works *sync.WaitGroup, ds []D, quick func(D) bool, restart func(context.Context, D) Reboot, each func(D, Reboot)) error {
	type restarted struct {
		at     int // in ds: a device is large, and there may be very many
		reboot Reboot
	}
	var rest []int
	for i, d := range ds {
		if quick(d) {
			each(d, restart(context.WithoutCancel(ctx), d))
		} else {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	done := make(chan restarted, len(rest))
	work := func(i int) { // ends within its limit
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), workLimit)
		defer cancel()
		done <- restarted{i, restart(limited, ds[i])}
	}
	var next atomic.Int64
	for range min(restartsAtOnce, len(rest)) {
		works.Go(func() { // ends with the last of them; Lab.Run waits for it
			for i := next.Add(1); i <= int64(len(rest)); i = next.Add(1) {
				work(rest[i-1])
			}
		})
	}
	for range rest {
		select {
		case r := <-done:
			each(ds[r.at], r.reboot)
		case <-ctx.Done():
			return abandoned{ctx.Err()}
		}
	}
	return nil
}

// abandoned is the error of atOnce when nobody waits any more for what goes on.
type abandoned struct{ error }

func (a abandoned) Unwrap() error { return a.error }

// interrupted is an error for who does not wait any more for what was begun, and goes on.
func interrupted(ctx context.Context, err error) error {
	if _, is := errors.AsType[abandoned](err); !is || fault.As(context.Cause(ctx)) != nil { // which tells why
		return err
	}
	return fault.New(fault.Interrupted, "interrupted: what was begun goes on").WithHint("see what they are doing with: node show --all")
}

// slow is for restarts of which each waits for a switch, or for what is written of it.
func slow[D any](D) bool { return false }
