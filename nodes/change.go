package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/power"
	"walt/state"
)

// Result is what one command did.
type Result struct {
	Changes []Change       // a node each, in natural order
	Cloned  []images.Image // new in the user's working set
	Kept    []KeptImage    // in the working set already, not as their default images, and used unchanged
	// Unreachable are nodes that did not answer, or could not boot, when they were
	// taken, since no others were free.
	Unreachable []Name
	Note        string // on what a new node is, in words for users; "" when there is nothing to say
}

// Change is what one command did to one node.
type Change struct {
	Node     Name
	Model    images.Model
	Image    images.Ref // that it boots now
	Digest   string     // of that image, when it was told to boot it
	Previous auth.Name  // owner before
	Changed  bool       // false: it booted that image already and was left alone
	Until    time.Time  // when the server releases it, UTC; zero: never
	Next     auth.Name  // who waited for a node that became free, and has it now; "" for nobody
	Tied     bool       // it is held only while its owner is connected
	With     Name       // a node that it shares outlets with, for whose sake its power was switched; "": for its own
	Reboot   Reboot
	Retired  *Retired // that it is out of service, nil when it is not
}

// last is the last of the changes.
func (r *Result) last() *Change { return &r.Changes[len(r.Changes)-1] }

// hold has it tell until when the node is held.
func (ch *Change) hold(d Device) { ch.Until, ch.Tied = d.Hold(), d.Remarks().Tied }

// KeptImage is an image that was there under the name of a clone, with other content
// than the default image.
type KeptImage struct {
	Image, Default images.Ref
}

// change is one transaction that may make nodes boot other images.
type change struct {
	lab     *Lab
	tx      state.Tx
	actor   journal.Actor // who asked
	given   consent.Agreement
	result  Result
	told    journal.Bundle  // what the log and the owners are told of nodes
	back    map[Name]string // of nodes whose owners are told that they are free: what these noted
	moved   []move          // to restart after the commit
	fitting fitting         // those of the changes that fit one transaction
	advice  string          // what to do when it is too much for one command; "": name fewer nodes
	stay    bool            // do not restart them: what they run stays the same
	remarks Remarks         // on what becomes, or stays, the user's
	because string          // the reason of it all, for the log; "": none but that the actor wanted it
	at      time.Time       // from when on the holds of the command count; zero: no hold did yet
	instead string          // a hint for who would have machines boot what they cannot; "": what they can

	enrolled []Device // that were not known as nodes before

	// What becomes of those who wait, see serve.
	stirred  bool      // there may be something for them
	freed    []*Device // by this change
	alone    bool      // it is made for nothing else
	grants   []*change // by the server
	wish     *Wish     // that it grants
	granting *Wish     // that is being granted: an error is about that
	ended    []ending  // wishes that ended otherwise
	awaits   bool      // there are wishes
	more     bool      // it could not give all that there is

	hear  map[auth.Name]bool // the owners who are told that somebody waits
	hears string             // and for what
}

// move is a device that is restarted after the commit.
type move struct {
	Device
	port power.Port // by which it is restarted; the zero Port if there is none
	why  string     // for the log
	of   int        // the number of its Change in the result, -1 when it has none
}

// change runs f in one transaction, and then restarts the nodes that it moved.
func (l *Lab) change(ctx context.Context, actor journal.Actor, given consent.Agreement, f func(*change) error) (Result, error) {
	c, err := l.commit(ctx, actor, given, f)
	if err != nil {
		return Result{}, err
	}
	for _, d := range c.enrolled {
		l.startEnrolled(d)
	}
	err = c.restart(ctx)
	return c.result, err
}

// commit runs f in one transaction, and restarts nothing but what it gave at once to those
// who waited for it.
func (l *Lab) commit(ctx context.Context, actor journal.Actor, given consent.Agreement, f func(*change) error) (*change, error) {
	var c *change
	serves := true
	work := func(tx state.Tx) error {
		if err := auth.Admit(tx, actor); err != nil {
			return err
		}
		c = &change{lab: l, tx: tx, actor: actor, given: given}
		if err := f(c); err != nil {
			return err
		}
		if c.awaits = !serves; serves {
			if c.stirred { // what comes of it is told behind it
				if err := l.Journal.Write(tx, c.told.Events()); err != nil {
					return err
				}
			}
			if err := c.serve(ctx); err != nil {
				return err
			}
		}
		return l.Journal.Write(tx, c.told)
	}
	err := l.update(ctx, work)
	if err != nil && c != nil && c.granting != nil && !c.alone && ctx.Err() == nil {
		serves = false // what is wrong with a wish is nothing to who frees nodes, see giveTurns
		err = l.update(ctx, work)
	}
	if err == nil {
		c.hand(ctx)
	}
	if err != nil && c != nil {
		err = l.tooMany(err, c.fitting, c.advice)
	}
	return c, err
}

// fitting is how many of the devices of one command, from the first on, fit one
// transaction with what the log and the owners are told of them.
type fitting int

// add counts a device that is changed and told of.
func (n *fitting) add(tx state.Tx, told *journal.Bundle) {
	room := tx.Room()
	room.Rows -= 10 // for what a command writes in the end
	room.Bytes -= 10_000
	if told.Fits(room) {
		*n++
	}
}

// tooMany makes of state.ErrTooBig what a user is told; fit is how many of the devices of
// the command fit, advice what to do if they were not named.
func (l *Lab) tooMany(err error, fit fitting, advice string) error {
	if !errors.Is(err, state.ErrTooBig) {
		return err
	}
	limit := l.Store.Limit()
	if advice == "" {
		advice = fmt.Sprintf("name fewer at a time: %d of these fit", fit)
	}
	return fault.Failedf("too much for one command: it changes more than %d rows or %.1f MB of the store; nothing changed", limit.Rows, float64(limit.Bytes)/1e6).
		WithHint("%s", advice)
}

// clone returns a user's clone of the model's default image, made now unless an
// image of that name is there.
func (c *change) clone(user auth.Name, model images.Model) (images.Image, error) {
	clone, def, made, err := c.lab.Images.CloneOfDefault(c.tx, c.actor, model, user)
	switch {
	case err != nil:
		return images.Image{}, err
	case made:
		c.result.Cloned = append(c.result.Cloned, clone)
	case clone.Digest != def.Digest:
		c.keep(KeptImage{Image: clone.Ref, Default: def.Ref})
	}
	return clone, nil
}

// keep notes once that an image of the working set is used unchanged.
func (c *change) keep(k KeptImage) {
	for _, img := range c.result.Cloned {
		if img.Ref == k.Image {
			return
		}
	}
	for _, have := range c.result.Kept {
		if have.Image == k.Image {
			return
		}
	}
	c.result.Kept = append(c.result.Kept, k)
}

// move has a device restarted after the commit, by its port if the server may
// work that. One that is off to save power stays so, unless it is needed.
func (c *change) move(d Device, needed bool, why string) error {
	if !needed {
		if off, err := c.lab.Ports.IsOff(c.tx, d.MAC); err != nil || off {
			return err
		}
	}
	m := move{Device: d, why: why, of: len(c.result.Changes) - 1}
	if m.of >= 0 && c.result.Changes[m.of].Node != d.Name {
		m.of = -1
	}
	var err error
	if !c.stay {
		m.port, err = c.lab.Ports.PowerCycle(c.tx, d.MAC)
	}
	c.moved = append(c.moved, m)
	return err
}

// restart cuts what the previous owners still do on the moved nodes and starts
// those anew. It follows the commit at once and does not depend on anybody
// waiting for it; what an end of the server cuts off, Run finishes.
func (c *change) restart(ctx context.Context) error {
	defer c.tieMoved()()
	for _, m := range c.moved {
		if c.lab.visitors.Any(string(m.Name)) { // visit looks after those who come later
			why := changedHands(m.Name)
			if c.because == holdEnded {
				why = fault.Failedf("the hold of %s ended", m.Name).WithHint("take it again with: node acquire %s", m.Name)
			}
			c.lab.visitors.Evict(string(m.Name), m.Owner(), why)
		}
	}
	if c.stay {
		return nil
	}
	restart := func(ctx context.Context, m move) Reboot {
		return c.lab.restartBy(ctx, m.Device, m.port, nil, cause{c.actor, m.why})
	}
	quick := func(m move) bool { return c.lab.quickly(m.Device, m.port) }
	outcome := make([]Reboot, len(c.result.Changes))
	err := atOnce(ctx, &c.lab.works, c.moved, quick, restart, func(m move, r Reboot) {
		if m.of >= 0 {
			outcome[m.of] = r
		}
	})
	if err != nil {
		return fault.New(fault.Interrupted, "interrupted: the change is made, and its nodes go on rebooting")
	}
	for i, r := range outcome {
		if r != (Reboot{}) {
			c.result.Changes[i].Reboot = r
		}
	}
	return nil
}
