package nodes

import (
	"context"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
)

// End is when the hold of a node is to end, as its owner says: after some time from the
// moment that the node becomes the owner's, at an instant, or never. The zero End says
// nothing.
type End struct {
	After time.Duration `json:"after,omitempty"`
	At    time.Time     `json:"at,omitzero"`
	Never bool          `json:"never,omitempty"`
}

// LongestHold is how far away the end of a hold may be: beyond it a year was mistyped.
const LongestHold = 10 * 366 * 24 * time.Hour

// over reports whether it is an instant that has passed, as while the user was asked, or waited.
func (e End) over(now time.Time) bool { return !e.At.IsZero() && !e.At.After(now) }

// errOver is for who would get nodes whose hold is over already.
var errOver = fault.Failedf("the time until which they are wanted is over; nothing changed").WithHint("say until when with: --until T, or for how long: --for D")

// from returns when it is, seen from an instant; the zero time is never. Holds end at whole
// seconds, and none ends too early.
func (e End) from(now time.Time) time.Time {
	switch {
	case e.Never:
		return time.Time{}
	case e.After > 0:
		return now.Add(e.After + time.Second - 1).Truncate(time.Second).UTC()
	}
	return e.At.UTC()
}

// Holds is what the lab does about holds.
type Holds struct {
	Default time.Duration   // after which one ends whose owner did not say when; 0: never
	Warn    []time.Duration // how long before the end its owner is told that it comes
}

// SetHolds changes it for those that begin from now on.
func (l *Lab) SetHolds(h Holds) { l.holds.Store(&h) }

// Holds returns it.
func (l *Lab) Holds() Holds {
	if h := l.holds.Load(); h != nil {
		return *h
	}
	return Holds{}
}

// said returns the remarks on a node that is a user's after the change: those that it has,
// with those of the command over them. One that has just become the user's has an end, if
// holds have one by default.
func (c *change) said(d Device, fresh bool) Remarks {
	r := d.Remarks().over(c.remarks)
	end := c.remarks.End
	if fresh && end == (End{}) {
		end.After = c.lab.Holds().Default
	}
	if end != (End{}) {
		if c.at.IsZero() { // the same for all nodes of a command
			c.at = c.lab.Now()
		}
		r.Until = end.from(c.at)
	}
	if !fresh && !r.Until.Equal(d.Hold()) {
		c.told.Record(heldUntil(c.actor, d.Name, r))
	}
	return r
}

// heldUntil is the event that until when a node is held was set anew.
func heldUntil(actor journal.Actor, n Name, r Remarks) journal.Event {
	e := journal.Event{Type: journal.Sharing, Actor: actor, Node: string(n), Detail: "held without an end"}
	switch {
	case !r.Until.IsZero():
		e.Detail = "held until " + untilInLog(r.Until)
	case r.Tied:
		e.Detail = "held"
	}
	if r.Tied {
		e.Detail += ", while its owner is connected"
	}
	return e
}

func untilInLog(until time.Time) string { return until.Format("2006-01-02 15:04 UTC") }

// Extend sets anew when the holds of the nodes of the set end, which are the user's, all of
// them. A length of time is added to the end that a hold has, or to now when that is over;
// one without an end goes on without.
// With tied they are held only while the user is connected, too, until end is never.
func (l *Lab) Extend(ctx context.Context, user auth.Name, set Set, end End, tied bool) (Result, error) {
	c, err := l.commit(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		ds, err := c.own(ctx, set, user)
		if err != nil {
			return err
		}
		now := l.Now()
		for _, d := range ds {
			said := d.Remarks()
			said.Tied = tied || said.Tied && !end.Never
			switch {
			case end == (End{}):
			case end.After == 0:
				said.Until = end.from(now)
			case !said.Until.IsZero():
				from := said.Until
				if from.Before(now) {
					from = now
				}
				said.Until = end.from(from)
				if said.Until.Sub(now) > LongestHold {
					return fault.Failedf("the hold of %s would end more than 10 years from now; nothing changed", d.Name).WithHint("a hold without an end: node extend %s never", d.Name)
				}
			}
			ch := Change{Node: d.Name, Model: d.Model, Image: d.Image, Digest: d.Digest, Previous: user, Until: said.Until, Tied: said.Tied, Reboot: Reboot{Outcome: RebootSkipped}}
			moved := !said.Until.Equal(d.Hold())
			if moved {
				if err := c.collides(ctx, d, said.Until); err != nil {
					return err
				}
			}
			if tied { // before the end of the node's hold that is about to be written
				l.ties.renew(d.tie(), now)
			}
			if moved || tied || said.Tied != d.Remarks().Tied {
				ch.Changed = moved || said.Tied != d.Remarks().Tied
				d.say(said)
				c.told.Record(heldUntil(c.actor, d.Name, said))
				if err := devices.Put(c.tx, string(d.Name), d); err != nil {
					return err
				}
			}
			c.result.Changes = append(c.result.Changes, ch)
			c.fitting.add(c.tx, &c.told)
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	return c.result, nil
}

// collides returns a fault when a node that somebody waits for is to be held for longer.
func (c *change) collides(ctx context.Context, d Device, until time.Time) error {
	before := d.Hold()
	if before.IsZero() || !until.IsZero() && until.Before(before) {
		return nil
	}
	who, err := c.lab.awaited(ctx, c.tx, d)
	if err != nil || len(who) == 0 {
		return err
	}
	waits := "waits"
	if len(who) > 1 {
		waits = "wait"
	}
	return fault.New(fault.InUse, "%s %s for %s; nothing changed", fault.Few(who), waits, d.Name).WithHint("see who waits with: node queue")
}

// Hold returns when the server releases the node, the zero time for never.
func (d *Device) Hold() (until time.Time) {
	if d.Said == nil {
		return until
	}
	return d.Said.Until
}

// over reports whether the hold of a node has ended.
func (d *Device) over(now time.Time) bool {
	until := d.Hold()
	return !until.IsZero() && !until.After(now)
}

// holdEnded is the reason of a release by the server, for the log.
const holdEnded = "the hold ended"

// endNotice is what the owner of a node is told whose hold ended.
var endNotice = journal.Notice{
	One:     "the hold of your node %s ended: it is no longer yours",
	Several: "the holds of %s ended, which are no longer yours",
}
