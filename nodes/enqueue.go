package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// arrive makes the nodes the user's when they are available and nobody older wants them, and
// returns nil. Else it writes the wish, or takes up the one whose place is kept.
func (c *change) arrive(ctx context.Context, user auth.Name, want Want, w Wish) (*Wish, error) {
	c.remarks = want.Remarks
	w.Since, w.N, w.Model, w.Set = c.lab.Now().UTC(), want.Some.N, want.Some.Model, want.Some.Set.String()
	ws, err := wishes.All(c.tx, "")
	if err != nil {
		return nil, err
	}
	var named []Device
	if w.N == 0 {
		if named, err = want.Set.expand(stored{place{ctx, c.lab, c.tx}, c.lab.tooManyToTake()}, user, nodeScope); err != nil {
			return nil, err
		}
		for _, d := range named {
			w.Nodes = append(w.Nodes, d.MAC)
		}
	}
	before := len(ws)
	i := c.lab.keptWish(ws, &w)
	if i >= 0 && ws[i].granted() {
		ds, err := ws[i].given(c.tx)
		if err != nil {
			return nil, err
		}
		if len(ds) > 0 {
			return nil, c.takeUp(&ws[i], ds)
		}
		if err := wishes.Delete(c.tx, ws[i].key()); err != nil { // others have by now what it got
			return nil, err
		}
		ws, before, i = slices.Delete(ws, i, i+1), before-1, -1
	}
	if i >= 0 {
		before, w.ID, w.Since, w.Nodes, w.Set = i, ws[i].ID, ws[i].Since, ws[i].Nodes, ws[i].Set
	} else if err := c.canBe(ctx, &w, named); err != nil {
		return nil, err
	}
	t, err := c.turns(ctx, ws[:before], false)
	if err != nil {
		return nil, err
	}
	ds, enough, err := t.nodesFor(&w)
	if err != nil {
		return nil, err
	}
	if enough {
		if w.ID > 0 {
			if err := wishes.Delete(c.tx, w.key()); err != nil {
				return nil, err
			}
			c.stirred = true
		}
		if err := c.able(ds, user); err != nil {
			return nil, err
		}
		return nil, c.takeFor(&w, ds)
	}
	if w.ID > 0 {
		return &w, wishes.Put(c.tx, w.key(), w)
	}
	if err := c.lab.tooMuchToWaitFor(ws, &w); err != nil {
		return nil, err
	}
	if err := c.tellOwners(ctx, &w, ws); err != nil {
		return nil, err
	}
	return &w, c.addWish(&w)
}

const (
	// mostWishes is for how much a user may wait at the same time.
	mostWishes = 200
	// mostWords is of how many words all sets may be that the user wants any nodes of.
	mostWords = 1000
)

// tooMuchToWaitFor is a fault when one user waits for so much that whoever frees a node has
// long to look for whom that is; of named nodes, for more than one command could take.
func (l *Lab) tooMuchToWaitFor(ws []Wish, w *Wish) error {
	all, words, named := 1, w.words(), len(w.Nodes)
	for i := range ws {
		if ws[i].User == w.User {
			all, words, named = all+1, words+ws[i].words(), named+len(ws[i].Nodes)
		}
	}
	what, hint := "", "see for what with: node queue"
	switch most := l.tooManyToTake(); {
	case all > mostWishes:
		what = fmt.Sprintf("you wait for %d things already", mostWishes)
	case words > mostWords:
		hint = "have a tag stand for them (see: help show device-sets)"
		what = fmt.Sprintf("the sets of all that you wait for would be of %d words, of which %d are possible", words, mostWords)
	case named >= most:
		what = fmt.Sprintf("you would wait for %d nodes by name, of which %d are possible", named, most-1)
	default:
		return nil
	}
	return fault.New(fault.InUse, "%s; nothing changed", what).WithHint("%s", hint)
}

// words is of how many words its set is at most.
func (w *Wish) words() int {
	if w.Set == "" {
		return 0
	}
	return 1 + strings.Count(w.Set, ",") + strings.Count(w.Set, "+")
}

// canBe returns a fault when a wish can never be met; named are its nodes if it has some.
func (c *change) canBe(ctx context.Context, w *Wish, named []Device) error {
	most := c.lab.tooManyToTake()
	if w.N > 0 {
		some, err := w.some()
		if err != nil {
			return err
		}
		there, err := c.lab.possible(ctx, c.tx, w.User, some)
		switch {
		case err != nil:
			return err
		case there.n < w.N:
			return tooFewAtAll(there.n, some)
		case w.N >= most:
			return state.ErrTooBig
		}
		return nil
	}
	if err := notMine(named, w.User, w.Remarks); err != nil {
		return err
	}
	if err := c.able(named, w.User); err != nil {
		return err
	}
	if len(named) >= most {
		return state.ErrTooBig
	}
	return nil
}

// keptWish returns which of the wishes the user takes up with a new one: it is the same line, or
// wants the same for the same job, and nobody waits for it since the server ended. -1: none.
func (l *Lab) keptWish(ws []Wish, w *Wish) int {
	for i := range ws {
		old := &ws[i]
		same := old.Line == w.Line || w.Remarks.Job != "" && old.alike(w)
		if old.User == w.User && old.Remarks.Job == w.Remarks.Job && same && !l.waiters.here(old.Waiter) {
			return i
		}
	}
	return -1
}

// takeUp hands over what was granted before the server ended.
func (c *change) takeUp(w *Wish, ds []Device) error {
	for _, d := range ds {
		img, err := images.Get(c.tx, d.Image)
		if err != nil {
			return err
		}
		if err := c.assignImage(d, img); err != nil {
			return err
		}
	}
	return wishes.Delete(c.tx, w.key())
}

// tellOwners has those who own nodes that are wanted know who waits for them: of a wish for
// any nodes, when it is the first of its kind; and none as often as who waits likes.
func (c *change) tellOwners(ctx context.Context, w *Wish, ws []Wish) error {
	for i := range ws {
		if w.N > 0 && ws[i].kind() == w.kind() && !ws[i].granted() {
			return nil
		}
	}
	all, err := c.lab.wantedOf(ctx, c.tx, w)
	if err != nil {
		return err
	}
	what, err := w.what(c.tx)
	if err != nil {
		return err
	}
	who := string(w.User)
	n := journal.Notice{One: who + " waits for your node %s", Several: who + " waits for %s"}
	if w.N > 0 {
		waits := who + " waits for " + what
		n = journal.Notice{One: waits + ", as is your node %s", Several: waits + ", as are %s"}
	}
	c.hear, c.hears = map[auth.Name]bool{}, what
	now := c.lab.Now()
	for _, d := range all {
		owner := d.Owner()
		if !d.contested(w.User) || !c.told.Fits(c.tx.Room()) || c.lab.heard.enough(hearsay{owner, w.User}, what, now) {
			continue
		}
		c.hear[owner] = true
		c.told.Tell(string(owner), string(d.Name), n)
	}
	return nil
}

// wantedOf returns the nodes that a wish could be met with, whoever has them.
func (l *Lab) wantedOf(ctx context.Context, r state.Reader, w *Wish) ([]Device, error) {
	if w.N == 0 {
		return withMACs(r, w.Nodes)
	}
	wants, err := l.wants(ctx, r, w)
	if err != nil {
		return nil, err
	}
	all, err := read(ctx, l.view, func() []*Device {
		return l.view.which(func(d *Device) bool { return d.Kind == Node && (wants == nil || wants(d)) })
	})
	return values(all), err
}
