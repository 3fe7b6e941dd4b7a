package nodes

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

const (
	// kept is for how long a wish keeps its place when nobody waits for it any more: after the
	// end of a server, until the user has typed the line once more.
	keptFor = time.Minute
	// patience is Lab.SetPatience until that is called.
	patience = 10 * time.Minute
)

// Want is what a user waits for: some of the lab's nodes or, when N is 0, all of a set.
type Want struct {
	Some    Some
	Set     Set
	Remarks Remarks
}

// Waiting is how a user waits.
type Waiting struct {
	Line string // that the user typed, by which the place is found again after the end of a server
	// Report is told where the user stands, at first and whenever that changed.
	Report func(Place)
	// Alive reports whether the user's client is there to be told; nil: it is.
	Alive func(context.Context) bool
	// Stopping reports whether the server ends the waiting since it stops itself: then the place
	// is kept; nil: it does not.
	Stopping func() bool
}

// Place is where somebody who waits stands.
type Place struct {
	Place, Of int       // among those who want any of the same nodes, from 1 on
	What      string    // that is waited for
	There     int       // nodes of those that are available and kept for the user
	Ahead     auth.Name // who is next before the user, "" for nobody
	Wants     string    // what that one wants
	Since     time.Time // and since when
	End       *NextEnd  // the next that is known; nil: none is
}

// NextEnd is when a node is to be released.
type NextEnd struct {
	Node  Name
	Owner auth.Name
	At    time.Time
}

// outcome is what became of a wish: the nodes are the user's, or why not.
type outcome struct {
	Result
	err error
}

// waiter is a user who waits, while that is.
type waiter struct {
	token   string
	outcome chan outcome // holds one
	place   chan Place   // holds the last
	told    int          // the place that was told last; of attend alone
}

// waiters are those who wait at this server, by what their wishes name them with. Whether
// somebody does is the one thing of a wish that is in memory alone: it ends with the server.
type waiters struct {
	mu      sync.Mutex
	by      map[string]*waiter
	stirred chan struct{} // holds one: it is time to look at the wishes
}

func newWaiters() *waiters {
	return &waiters{by: map[string]*waiter{}, stirred: make(chan struct{}, 1)}
}

func (ws *waiters) enter() *waiter {
	w := &waiter{token: rand.Text(), outcome: make(chan outcome, 1), place: make(chan Place, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.by[w.token] = w
	return w
}

func (ws *waiters) leave(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.by, w.token)
}

// here reports whether somebody waits for the wish that names the waiter.
func (ws *waiters) here(token string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.by[token] != nil
}

// tell has somebody who waits get to know what became of the wish.
func (ws *waiters) tell(token string, o outcome) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.by[token]; w != nil {
		select {
		case w.outcome <- o:
		default: // it was told that it ended
		}
	}
}

// stands has somebody who waits get to know where in the queue that is, if it changed; first
// adds what is told in the beginning.
func (ws *waiters) stands(token string, p Place, first func(*Place)) {
	ws.mu.Lock()
	w := ws.by[token]
	ws.mu.Unlock()
	if w == nil || w.told == p.Place {
		return
	}
	if w.told == 0 {
		first(&p)
	}
	w.told = p.Place
	select {
	case <-w.place:
	default:
	}
	w.place <- p
}

// stir has the server look at the wishes soon.
func (ws *waiters) stir() {
	select {
	case ws.stirred <- struct{}{}:
	default:
	}
}

// SetPatience says for how long from its arrival a wish that cannot be met keeps what there
// is of its nodes from younger ones.
func (l *Lab) SetPatience(d time.Duration) {
	l.patienceSet.Store(int64(d))
	l.waiters.stir()
}

func (l *Lab) patience() time.Duration { return time.Duration(l.patienceSet.Load()) }

// AcquireWhenFree makes the nodes that are wanted the user's, as Acquire and AcquireAny do:
// at once, when they are available, or in the transaction that frees the last of them, when
// it is the user's turn. When ctx ends first, so does the wish, and the error is that of ctx;
// nodes that were granted at that moment go to the next. What can never be is a fault at once.
func (l *Lab) AcquireWhenFree(ctx context.Context, user auth.Name, want Want, how Waiting) (Result, error) {
	me := l.waiters.enter()
	defer l.waiters.leave(me)
	var wish *Wish
	c, err := l.commit(ctx, user.Actor(), noConsent, func(c *change) (err error) {
		wish, err = c.arrive(ctx, user, want, Wish{User: user, Remarks: want.Remarks, Line: how.Line, Waiter: me.token})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	if wish == nil {
		err := c.restart(ctx)
		return c.result, err
	}
	l.waiters.stir() // what was freed since arrive looked is not known there
	for {
		select {
		case <-ctx.Done():
			return l.quit(ctx, wish, me, how)
		case p := <-me.place:
			how.Report(p)
		case o := <-me.outcome:
			return l.deliver(ctx, wish, o, how)
		}
	}
}

// quit ends the wish of a user who waits no more. One whose time is over just when it was
// granted gets the nodes all the same.
func (l *Lab) quit(ctx context.Context, wish *Wish, me *waiter, how Waiting) (Result, error) {
	why := ctx.Err()
	if how.Stopping != nil && how.Stopping() {
		return Result{}, why
	}
	granted := false
	over := context.WithoutCancel(ctx)
	_, err := l.commit(over, journal.Server, noConsent, func(c *change) error {
		w, here, err := wishes.Find(c.tx, wish.key())
		granted = here && w.granted() && errors.Is(why, context.DeadlineExceeded)
		if err != nil || !here || granted {
			return err
		}
		return c.dropWish(&w, nil)
	})
	if err != nil {
		return Result{}, errors.Join(why, err)
	}
	if !granted {
		return Result{}, why
	}
	return l.deliver(over, wish, <-me.outcome, how) // which comes with the end of the restarts
}

// deliver hands over what was granted. When the user's client is not there any more, it
// goes to the next.
func (l *Lab) deliver(ctx context.Context, wish *Wish, o outcome, how Waiting) (Result, error) {
	if o.err != nil && len(o.Changes) == 0 {
		return Result{}, o.err
	}
	gone := ctx.Err() != nil || how.Alive != nil && !how.Alive(ctx)
	if gone && how.Stopping != nil && how.Stopping() {
		return Result{}, context.Canceled // the wish is taken up again
	}
	_, err := l.commit(context.WithoutCancel(ctx), journal.Server, noConsent, func(c *change) error {
		w, here, err := wishes.Find(c.tx, wish.key())
		switch {
		case err != nil || !here:
			return err
		case gone:
			return c.dropWish(&w, nil)
		}
		return wishes.Delete(c.tx, w.key())
	})
	switch {
	case err != nil:
		return Result{}, err
	case gone:
		return Result{}, errGone
	}
	return o.Result, o.err
}

// errGone is for nobody: the client is not there.
var errGone = fault.New(fault.Interrupted, "the client does not answer; its nodes go to the next")

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
		before, w.ID, w.Since, w.Nodes = i, ws[i].ID, ws[i].Since, ws[i].Nodes
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
	if err := c.tellOwners(ctx, &w, ws); err != nil {
		return nil, err
	}
	return &w, c.addWish(&w)
}

// canBe returns a fault when a wish can never be met; named are its nodes if it has some.
func (c *change) canBe(ctx context.Context, w *Wish, named []Device) error {
	most := c.lab.tooManyToTake()
	if w.N > 0 {
		some, err := w.some()
		if err != nil {
			return err
		}
		wanted, err := c.lab.wanted(ctx, c.tx, w.User, some)
		if err != nil {
			return err
		}
		n, err := c.lab.count(ctx, wanted)
		switch {
		case err != nil:
			return err
		case n < w.N:
			return fault.Failedf("%d %s are wanted, and there are %d; nothing changed", w.N, some.words(), n).WithHint("see all nodes with: node show --all")
		case w.N >= most:
			return state.ErrTooBig
		}
		return nil
	}
	if err := notMine(named, w.User); err != nil {
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

// count is how many nodes there are that are wanted, nil for all, whoever has them.
func (l *Lab) count(ctx context.Context, wanted func(*Device) bool) (int, error) {
	return read(ctx, l.view, func() int {
		return len(l.view.which(func(d *Device) bool { return d.Kind == Node && (wanted == nil || wanted(d)) }))
	})
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
// any nodes, when it is the first of its kind.
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
	who := string(w.User)
	n := journal.Notice{One: who + " waits for your node %s", Several: who + " waits for %s"}
	if w.N > 0 {
		what := who + " waits for " + w.ofWhich()
		n = journal.Notice{One: what + ", as is your node %s", Several: what + ", as are %s"}
	}
	for _, d := range all {
		if d.contested(w.User) && c.told.Fits(c.tx.Room()) {
			c.told.Tell(string(d.Owner()), string(d.Name), n)
		}
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

// placesOf says where each of the wishes stands, in as many places.
func placesOf(r state.Reader, ws []Wish) ([]Place, error) {
	models := map[ethernet.MAC]images.Model{}
	for i := range ws {
		if ws[i].N > 0 || ws[i].granted() {
			continue
		}
		ds, err := withMACs(r, ws[i].Nodes)
		if err != nil {
			return nil, err
		}
		for _, d := range ds {
			models[d.MAC] = d.Model
		}
	}
	type group struct{ count, last int } // of the wishes that want the same
	groups := map[string]*group{}
	var order []*Wish // one of each group
	keyOf := func(i int) string {
		if k := ws[i].kind(); k != "" {
			return k
		}
		return ws[i].key()
	}
	places := make([]Place, len(ws))
	each := func(i int, do func(*group)) {
		for _, first := range order {
			if ws[i].overlap(first, models) {
				k := first.kind()
				if k == "" {
					k = first.key()
				}
				do(groups[k])
			}
		}
	}
	for i := range ws {
		if ws[i].granted() {
			continue
		}
		places[i].Place = 1
		ahead := -1
		each(i, func(g *group) {
			places[i].Place += g.count
			ahead = max(ahead, g.last)
		})
		if ahead >= 0 {
			next := &ws[ahead]
			what, err := next.what(r)
			if err != nil {
				return nil, err
			}
			places[i].Ahead, places[i].Wants, places[i].Since = next.User, what, next.Since
		}
		k := keyOf(i)
		if groups[k] == nil {
			groups[k] = &group{}
			order = append(order, &ws[i])
		}
		groups[k].count++
		groups[k].last = i
	}
	for i := range ws {
		if !ws[i].granted() {
			each(i, func(g *group) { places[i].Of += g.count })
		}
	}
	return places, nil
}
