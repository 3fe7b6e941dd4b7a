package nodes

import (
	"context"
	"errors"
	"slices"
	"time"

	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
)

// noConsent disturbs nobody.
var noConsent consent.Agreement

// turns are a look at all who wait, in the order of arrival: who may have which of the nodes
// that are free. Once a wish cannot be met, what there is of its nodes is kept for it, as
// long as it is younger than the patience of the lab: no younger one gets it. Then younger
// ones that can be met pass it.
type turns struct {
	*change
	ctx  context.Context
	now  time.Time
	kept map[Name]*Wish
	// short are the nodes that there were for a wish of a kind that wanted more: to look once
	// more for those that want the same would find no others.
	short map[string][]Device
	wants map[string]func(*Device) bool // what a kind of wishes is for
	nodes map[ethernet.MAC]*Device      // that are waited for by their names, as they are by now; nil: there is none
	there map[int]int                   // how many nodes there are for wishes that are not met, by their numbers
}

// turns has each wish have its turn. With grant the ones that can be met are, if somebody
// waits for them; else their nodes are kept.
func (c *change) turns(ctx context.Context, ws []Wish, grant bool) (*turns, error) {
	t := &turns{change: c, ctx: ctx, now: c.lab.Now(), kept: map[Name]*Wish{}, short: map[string][]Device{}, wants: map[string]func(*Device) bool{}, nodes: map[ethernet.MAC]*Device{}, there: map[int]int{}}
	for i := range ws {
		w := &ws[i]
		if w.granted() {
			continue
		}
		ds, enough, err := t.nodesFor(w)
		if f := fault.As(err); f != nil && grant {
			err = c.dropWish(w, noLonger(f))
			enough, ds = false, nil
		} else if f != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		if enough && grant && c.lab.waiters.here(w.Waiter) {
			done, err := c.grant(w, ds)
			if err != nil {
				return nil, err
			}
			if done {
				clear(t.nodes)
				if w.granted() {
					t.keep(w, ds)
				}
				continue
			}
		}
		t.there[w.ID] = len(ds)
		if enough || c.lab.young(w, t.now) {
			t.keep(w, ds)
		}
	}
	return t, nil
}

// keep has nobody else get nodes.
func (t *turns) keep(w *Wish, ds []Device) {
	for _, d := range ds {
		t.kept[d.Name] = w
	}
}

// nodesFor returns the nodes that a wish may have, and whether they are enough. A fault says
// that they never will be.
func (t *turns) nodesFor(w *Wish) (ds []Device, enough bool, err error) {
	if w.Remarks.End.over(t.now) {
		return nil, false, errOver
	}
	if w.N == 0 {
		return t.named(w)
	}
	if some, known := t.short[w.kind()]; known && len(some) < w.N {
		return slices.DeleteFunc(slices.Clone(some), func(d Device) bool { return t.kept[d.Name] != nil }), false, nil
	}
	wants, known := t.wants[w.kind()]
	if !known {
		if wants, err = t.lab.wants(t.ctx, t.tx, w); err != nil {
			return nil, false, err
		}
		t.wants[w.kind()] = wants
	}
	found, err := t.someFree(t.ctx, w.N, t.notKept(wants))
	for _, d := range found {
		ds = append(ds, d.Device)
	}
	if len(ds) < w.N {
		t.short[w.kind()] = ds
	}
	return ds, len(ds) == w.N, err
}

// notKept returns what tells of wanted nodes, nil for all, which are not kept for others.
func (t *turns) notKept(wanted func(*Device) bool) func(*Device) bool {
	return func(d *Device) bool { return t.kept[d.Name] == nil && (wanted == nil || wanted(d)) }
}

// named is nodesFor a wish for all of some nodes. Those that are the user's by now are there.
func (t *turns) named(w *Wish) (ds []Device, all bool, err error) {
	all = true
	for _, mac := range w.Nodes {
		d, err := t.node(mac)
		switch {
		case err != nil:
			return nil, false, err
		case d == nil:
			return nil, false, fault.Failedf("a node that you waited for was removed").WithHint("see all nodes with: node show --all")
		case d.Kind != Node:
			return nil, false, fault.Failedf("%s is no node any more", d.Name).WithHint("see all nodes with: node show --all")
		case d.Owner() == w.User:
		case d.available() && t.kept[d.Name] == nil:
			ds = append(ds, *d)
		default:
			all = false
		}
	}
	return ds, all, nil
}

// node returns the device at an address, which many may wait for, nil if there is none.
func (t *turns) node(mac ethernet.MAC) (d *Device, err error) {
	d, known := t.nodes[mac]
	if known {
		return d, nil
	}
	ds, err := withMACs(t.tx, []ethernet.MAC{mac})
	if len(ds) > 0 {
		d = &ds[0]
	}
	t.nodes[mac] = d
	return d, err
}

// available reports whether the node may be given to who wants any, were it not kept for
// somebody who waits: it is free, and not out of service.
func (d *Device) available() bool { return d.Kind == Node && d.Free() && d.Retired() == nil }

// grant makes nodes those of a user who waits for them: an acquire by the server. It is not
// done when this transaction is too full, or has to look at an image first: the next turns,
// which follow soon, are for that. A wish for what cannot be ends.
func (c *change) grant(w *Wish, ds []Device) (done bool, err error) {
	const rows, bytes = 20, 5_000 // more than a node mostly takes
	room := c.tx.Room()
	room.Rows -= rows * (len(ds) + 1)
	room.Bytes -= bytes * (len(ds) + 1)
	if first := c.alone && len(c.grants) == 0; !first && !c.told.Fits(room) {
		c.more = true
		return false, nil
	}
	g := &change{lab: c.lab, tx: c.tx, actor: journal.Server, remarks: w.Remarks, wish: w}
	c.granting = w
	if err = g.able(ds, w.User); err == nil {
		err = g.takeFor(w, ds)
	}
	if _, is := errors.AsType[*unseen](err); is && !c.alone {
		c.more = true
		return false, nil
	}
	if f := fault.As(err); f != nil {
		return true, c.dropWish(w, noLonger(f))
	}
	if err != nil {
		return false, err
	}
	c.granting = nil
	w.Granted = c.lab.Now().UTC()
	for _, d := range ds {
		w.Given = append(w.Given, d.MAC)
	}
	c.grants = append(c.grants, g)
	return true, errors.Join(wishes.Put(c.tx, w.key(), *w), c.lab.Journal.Write(c.tx, g.told))
}

// takeFor makes nodes those of the user of a wish. Of those that it names and that are the
// user's by now, the result tells so behind them, and no more becomes of them.
func (c *change) takeFor(w *Wish, ds []Device) error {
	if err := c.take(inOrder(ds), w.User); err != nil {
		return err
	}
	named, err := withMACs(c.tx, w.Nodes)
	if err != nil {
		return err
	}
	for _, d := range named {
		if d.Owner() != w.User || slices.ContainsFunc(ds, func(taken Device) bool { return taken.MAC == d.MAC }) {
			continue
		}
		c.result.Changes = append(c.result.Changes, Change{
			Node: d.Name, Model: d.Model, Image: d.Image, Digest: d.Digest, Previous: w.User, Retired: d.Retired(), Reboot: Reboot{Outcome: RebootSkipped},
		})
		c.result.last().hold(d)
	}
	return nil
}

// serve gives those who wait what became free in this transaction, and what was kept for a
// wish that ended.
func (c *change) serve(ctx context.Context) error {
	for c.stirred { // a wish that ended as it could not be may have kept nodes
		c.stirred = false
		ws, err := wishes.All(c.tx, "")
		if err != nil || len(ws) == 0 {
			return err
		}
		c.awaits = true
		if _, err := c.turns(ctx, ws, true); err != nil {
			return err
		}
	}
	for _, g := range c.grants {
		c.passOn(g)
	}
	return nil
}

// passOn has nodes that the change freed, and that were given to somebody at once, start once.
func (c *change) passOn(g *change) {
	to := map[Name]bool{}
	for _, m := range g.moved {
		to[m.Name] = true
	}
	kept := c.moved[:0]
	for _, m := range c.moved {
		if !to[m.Name] {
			kept = append(kept, m)
		}
	}
	c.moved = kept
	for i, ch := range c.result.Changes {
		if to[ch.Node] {
			c.result.Changes[i].Next = g.wish.User
			c.wentOn(c.result.Changes[i])
		}
	}
}

// hand follows the commit: it starts the nodes that were granted, and tells those who wait
// for them. Nobody waits for that here.
func (c *change) hand(ctx context.Context) {
	l := c.lab
	for _, g := range c.grants {
		l.works.Go(func() { // ends within the limit of restarts; Run waits for it
			err := g.restart(context.WithoutCancel(ctx))
			l.waiters.tell(g.wish.Waiter, outcome{g.result, err})
		})
	}
	for _, e := range c.ended {
		if e.why != nil {
			l.waiters.tell(e.waiter, outcome{err: e.why})
		}
	}
	if c.awaits || c.more || len(c.result.Changes) > 0 { // of what is somebody's now, there may be a rest
		l.waiters.stir()
	}
}

// ending is what somebody who waits is told.
type ending struct {
	waiter string
	why    error
}

// keptOf counts the wanted nodes, nil for all, that are kept for others.
func (t *turns) keptOf(wanted func(*Device) bool) (n int) {
	for name := range t.kept {
		if d, known, err := devices.Find(t.tx, string(name)); err == nil && known && (wanted == nil || wanted(&d)) {
			n++
		}
	}
	return n
}
