package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// MostRounds is how many a test may have.
const MostRounds = 1000

// Trial is how a node is tested.
type Trial struct {
	Rounds int           // how often it boots, 1 to MostRounds
	Hard   bool          // its power is cut, without asking it to reboot
	Limit  time.Duration // after which a round has failed that still goes on
}

// Round is one boot of a test.
type Round struct {
	Number int       // from 1
	Legs   []Stretch // the steps that it reached, in their order
	At     Step      // the last one
	Took   time.Duration
	Why    string // it did not come up, in words for users; "" when it did
}

// Stretch is a step, as its Word, and how long it took from the one before.
type Stretch struct {
	Step Step
	Took time.Duration
}

// Test boots a node again and again, as Reboot does, and calls at with the step at which
// each round is, and each with what came of it. It ends early, with an error, when ctx does,
// when the node cannot be started anew, and when others get in its way: it goes on only
// while the node is whose it was. What is known by then is kept as the verdict.
func (l *Lab) Test(ctx context.Context, user auth.Name, n *Device, t Trial, at func(number int, s Status), each func(Round)) (Verdict, error) {
	if by, tested := l.tests.LoadOrStore(n.MAC, user); tested {
		return Verdict{}, fault.New(fault.InUse, "%s tests %s already", by, n.Name).
			WithHint("see how that goes with: log show --issuers %s --realtime", n.Name)
	}
	defer l.tests.Delete(n.MAC)
	v := Verdict{By: user, Began: l.Now().UTC(), Image: n.Image, Wanted: t.Rounds}
	l.status.follow(n.Name, func(*trail) {})
	var rounds []Round
	var ended error
	for ended == nil && len(rounds) < t.Rounds {
		var r Round
		number := len(rounds) + 1
		if r, ended = l.round(ctx, user, n, t, number, at); ended == nil {
			rounds = append(rounds, r)
			each(r)
		}
	}
	if len(rounds) == 0 {
		return v, ended
	}
	v.judge(rounds, l.Now().UTC(), ended)
	kept := l.keep(context.WithoutCancel(ctx), n, v) // also when nobody waits for it any more
	return v, cmp.Or(ended, kept)
}

// keep records the verdict on a node.
func (l *Lab) keep(ctx context.Context, n *Device, v Verdict) error {
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		name, here, err := macs.Find(tx, string(n.MAC))
		if err != nil || !here { // it was removed
			return err
		}
		return errors.Join(
			verdicts.Put(tx, string(n.MAC), v),
			l.Journal.Record(tx, journal.Event{Type: journal.Power, Actor: v.By.Actor(), Node: string(name), Detail: "tested: it " + v.Words()}),
		)
	})
	return err
}

// notCut is the fault for a test that would cut the power of others.
func notCut(beside []consent.Claim, n Name, t Trial) error {
	var others []string
	for _, c := range beside {
		if c.Owner != auth.Nobody && c.Owner != "" {
			c.Node += " of " + string(c.Owner)
		}
		others = append(others, c.Node)
	}
	f := fault.Failedf("what feeds %s feeds %s, too, whose power is not cut for a test", n, fault.Few(others))
	if t.Hard {
		return f.WithHint("have it reboot by itself: device test %s", n)
	}
	return f.WithHint("see: help show power")
}

// round has a node boot once more, and returns what came of it. An error says that this
// round does not count, nor can be another one.
func (l *Lab) round(ctx context.Context, user auth.Name, n *Device, t Trial, number int, at func(int, Status)) (r Round, err error) {
	var outcome Reboot
	may := func(ds []Device, beside []consent.Claim) error {
		err := stillHis(ds[0], n)
		if len(beside) > 0 && err == nil {
			err = notCut(beside, n.Name, t)
		}
		return err
	}
	how := restarts{user: user, set: only(n.Name), hard: t.Hard, may: may, quiet: number > 1}
	begun := l.Now()
	if err := l.reboot(ctx, how, func(ch Change) { outcome = ch.Reboot }); err != nil {
		return r, err
	}
	switch outcome.Outcome {
	case RebootNone:
		return r, fault.Failedf("the server has no means to start %s anew", n.Name).WithHint("switch it off and on by hand, and test it when it is up: node wait %s", n.Name)
	case RebootFailed:
		return r, fault.Failedf("could not start %s anew: %s", n.Name, outcome.Reason).WithHint("see what it is doing with: node show %s", n.Name)
	}
	limited, cancel := context.WithTimeout(ctx, t.Limit)
	defer cancel()
	lost := time.After(lostLimit)
	var began time.Time // this boot, as its status has it
	r = Round{Number: number, At: StepNone}
	for {
		changed := l.status.next()
		s := l.status.of(n.Name)
		if err := l.undisturbed(ctx, n); err != nil {
			return r, err
		}
		if s.tries == 0 { // else it is started anew already
			r.Legs, begun = stretches(l.Trail(n.Name).Legs, begun)
			r.At = Step(cmp.Or(s.Step, StepNone).Word())
		}
		r.Took = max(0, l.Now().Sub(begun))
		switch {
		case s.State == Up:
			return r, nil
		case s.tries > 0:
			r.Why = s.Why
			if r.Why == "" || !s.began.Equal(began) { // it was late, and is started anew for that
				r.Why = fmt.Sprintf("not up after %v", n.Settings().bootTimeout())
			}
			return r, nil
		case s.State != Booting, s.Stopped():
			r.Why = cmp.Or(s.Why, "it is "+string(s.State))
			return r, nil
		case began.IsZero():
			began = s.began
		case !began.Equal(s.began):
			return r, fault.Failedf("somebody else started %s anew in round %d", n.Name, number).WithHint("see who with: log show --issuers %s", n.Name)
		}
		at(number, s)
		if t.Hard && l.runsOn(*n) {
			return r, fault.Failedf("%s runs on although its power was cut: something else feeds it", n.Name).
				WithHint("others may lose their power instead; see what is told to feed it with: device config %s", n.Name)
		}
		select {
		case <-changed:
		case <-lost:
		case <-limited.Done():
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			r.Took, r.Why = max(0, l.Now().Sub(begun)), fmt.Sprintf("not up after %v", t.Limit)
			return r, nil
		}
	}
}

// stretches are those of the steps of a boot, and when that began; known if they do not
// tell.
func stretches(legs []Leg, known time.Time) (all []Stretch, begun time.Time) {
	begun = known
	last := known
	for _, leg := range legs {
		switch {
		case leg.At.IsZero():
		case leg.Step == StepNone:
			begun, last = leg.At, leg.At
		default:
			all = append(all, Stretch{leg.Step, max(0, leg.At.Sub(last))})
			last = leg.At
		}
	}
	return all, begun
}

// stillHis returns a fault when a node is not whose it was, or another one.
func stillHis(d Device, was *Device) error {
	switch {
	case d.MAC != was.MAC:
		return fault.Failedf("%s is another device now", was.Name).WithHint("see all devices with: device show")
	case d.Owner() != was.Owner(), !d.Since.Equal(was.Since):
		return changedHands(was.Name)
	}
	return nil
}

// undisturbed returns a fault when somebody got in the way of the test of a node.
func (l *Lab) undisturbed(ctx context.Context, n *Device) error {
	now, err := l.present(ctx, []*Device{n})
	if err != nil {
		return err
	}
	if now[0] == nil {
		return l.Store.View(ctx, func(r state.Reader) error {
			d, err := still(r, n)
			if err == nil && d.Name != n.Name {
				err = fault.Failedf("%s is called %s now", n.Name, d.Name).WithHint("test it with: device test %s", d.Name)
			}
			return err
		})
	}
	if err := stillHis(*now[0], n); err != nil {
		return err
	}
	offs, err := l.offs(ctx, now)
	if err == nil && offs[0] != nil && offs[0].By != "" {
		err = isOff(n.Name, offWords(*offs[0]))
	}
	return err
}

// verdicts are those of the last tests of devices, by MAC address.
var verdicts = state.NewTable[Verdict]("verdict")

// VerdictOn returns what came of the last test of a device, false when there was none.
func (l *Lab) VerdictOn(ctx context.Context, d *Device) (v Verdict, tested bool, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		v, tested, err = verdicts.Find(r, string(d.MAC))
		return err
	})
	return v, tested, err
}
