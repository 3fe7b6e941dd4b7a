package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/pause"
	"walt/state"
)

// Boot is called for a node that starts: it returns the image to boot and
// records, durably, that the node took it.
func (l *Lab) Boot(ctx context.Context, n Name) (images.Image, error) {
	var img images.Image
	var d Device
	read := func(r state.Reader) (err error) {
		if d, err = get(r, n); err != nil {
			return err
		}
		if d.Kind != Node {
			return fmt.Errorf("boot %s: it is a device of kind %s", n, d.Kind)
		}
		img, err = images.Get(r, d.Image)
		return err
	}
	tries, moved := l.status.of(n).tries, false
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if err = read(r); err == nil {
			moved, err = l.Ports.MindsBoot(r, d.MAC)
		}
		return err
	})
	if err == nil && tries > d.Settings().bootRetries() {
		err = fault.Failedf("it rebooted again and again before it was up%s", d.littleMemory())
	}
	wait := d.Settings().BootDelay
	if err == nil && d.Host == QEMU { // the others cost little
		wait += l.calm(n)
	}
	if err == nil && wait > 0 {
		if err = pause.For(ctx, wait); err == nil {
			err = l.Store.View(ctx, read)
		}
	}
	if err == nil && (d.Booted != img.Ref || d.Digest != img.Digest || moved) {
		_, err = l.Store.Update(ctx, func(tx state.Tx) error {
			if err := errors.Join(read(tx), l.Ports.NoteBoot(tx, d.MAC)); err != nil {
				return err
			}
			d.Booted, d.Digest, d.Stranger = img.Ref, img.Digest, false
			return devices.Put(tx, string(n), d)
		})
	}
	if err != nil {
		return img, fmt.Errorf("boot %s: %w", n, err)
	}
	if d.Host != Simulated {
		l.status.follow(n, func(*trail) {})
	}
	l.status.change(n, func(s *Status) {
		if s.State != Booting { // else it is known why
			s.began, s.Why = l.Now(), ""
		}
		s.State, s.Addr, s.due, s.took, s.untold = Booting, "", false, img.Digest, false
		s.runs, s.Written, s.Room, s.spent = "", 0, 0, false
		switch d.Host {
		case Simulated: // of which nothing more is heard before it is up
			s.Step = StepKernel
		case Physical: // what runs there asked
			s.Step = StepChained
		default:
			s.Step = StepNone
		}
		if s.late.IsZero() { // it started by itself
			s.late = l.Now().Add(d.Settings().bootTimeout())
		}
	})
	if !d.Virtual() {
		l.Ports.Rediscover()
	}
	return img, nil
}

// Up is called when a node runs; addr is host:port of its SSH server. That of one
// which was removed meanwhile, or is known by another name, is nobody's; of one that was
// told to start anew, it is of the boot that ends by that.
func (l *Lab) Up(n Name, addr string) {
	took, known := l.keepAddress(n, addr)
	if !known {
		return
	}
	now := l.Now()
	l.status.change(n, func(s *Status) {
		if s.due {
			return
		}
		if s.State != Up {
			s.came = now
		}
		if s.took == "" { // it started before the server did
			s.took = took
		}
		s.is(Up, addr)
	})
}

// Failed is called when a node that was started cannot boot, or cannot run on: of a
// virtual node by its host, of a physical one by whatever serves it its image. The
// reason stays with the node until it starts again.
func (l *Lab) Failed(n Name, reason error) { l.failed(n, reason) }

// failed is Failed, and returns the reason in words for users.
func (l *Lab) failed(n Name, reason error) (why string) {
	why = l.why(n, reason)
	if f := fault.As(reason); f != nil && f.Hint != "" {
		why += "; " + strings.ReplaceAll(f.Hint, "\n", " ")
	}
	ctx, cancel := context.WithTimeout(context.Background(), workLimit)
	defer cancel()
	d, err := state.Read(ctx, l.Store, func(r state.Reader) (Device, error) { return devices.Get(r, string(n)) })
	if errors.Is(err, state.ErrNotFound) {
		return why // removed meanwhile, or known by another name
	}
	var at Step
	l.status.change(n, func(s *Status) {
		if at = s.Step; at == StepNone { // nothing is to be told of it
			at = ""
		}
		s.State, s.Failed, s.Addr, s.Why, s.runs, s.due, s.untold = Unreachable, true, "", why, "", false, false
		if s.late.IsZero() { // it was up
			s.late = l.Now().Add(d.Settings().bootTimeout())
		}
	})
	more, tell := l.status.fail(n)
	if err == nil && !tell {
		return why
	}
	if err == nil {
		_, err = l.Store.Update(ctx, func(tx state.Tx) error {
			d, here, err := devices.Find(tx, string(n))
			if err != nil || !here {
				return err
			}
			return l.Journal.Record(tx, l.giveUp(d, at, fmt.Sprintf("cannot boot %s: %s%s", d.Image, why, more)))
		})
	}
	l.unnoted.because(l.Log, err, "note that a node cannot boot", n)
	return why
}

// What a node did that nobody ordered, as far as its host knows.
const (
	rebooted    = "rebooted from inside"
	switchedOff = "switched off from inside"
)

// Down is called when a node lost its power, with the reason in words for users; "" when
// it ended as after a command typed on it. One that was told to start, or that starts
// again at once, only did so for a moment: it is booting.
func (l *Lab) Down(n Name, again bool, why string) {
	defer func() { l.cut(n, why) }()
	l.status.change(n, func(s *Status) {
		switch {
		case s.due:
			s.runs, why = "", cmp.Or(s.cause.why, why, "it starts anew")
		case again && s.State == Booting: // in the middle of it
			s.due, s.Step, s.Why = true, StepNone, cmp.Or(why, "rebooted before it was up")
			s.Addr = ""
			s.tries++
		case again:
			why = cmp.Or(why, rebooted)
			*s = Status{State: Booting, due: true, began: l.Now(), Why: why, cause: cause{journal.Server, why}, seen: s.seen, hasty: s.hastily(l.Now())}
		default:
			why = cmp.Or(l.status.expected[n].why, why, switchedOff) // it is locked
			*s = Status{State: Off, Why: why, cause: cause{journal.Server, why}, seen: s.seen}
		}
	})
}

// ToStart reports whether a node was told to start, and has not asked yet what it boots.
func (l *Lab) ToStart(n Name) bool { return l.status.of(n).due }

// Crashed is called when the kernel of a node gave up. It reports whether the node is to
// start again at once, as after a reboot: one that was up. A boot has failed by that.
func (l *Lab) Crashed(n Name, why string) (again bool) {
	if s := l.status.of(n); s.State == Booting && !s.due {
		l.Failed(n, fault.Failedf("%s", why))
		return false
	}
	l.Down(n, true, why)
	return true
}
