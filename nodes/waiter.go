package nodes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
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
	told    int          // the place that was told last, and
	lacked  []Name       // the nodes out of service; both of attend alone
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

// stands has somebody who waits get to know where in the queue that is, if it changed. Add
// adds what is told in the beginning, and when there are other nodes.
func (ws *waiters) stands(token string, p Place, others bool, add func(p *Place, first bool)) {
	ws.mu.Lock()
	w := ws.by[token]
	ws.mu.Unlock()
	if w == nil || w.told == p.Place && !others {
		return
	}
	if p.Retired = w.lacked; w.told == 0 || others {
		add(&p, w.told == 0)
	}
	if w.told == p.Place && slices.Equal(w.lacked, p.Retired) {
		return
	}
	w.told, w.lacked = p.Place, p.Retired
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

// young reports whether a wish keeps what there is of its nodes. One from the future, for the
// clock was set back since, might for hours, and does not.
func (l *Lab) young(w *Wish, now time.Time) bool {
	const slack = time.Minute // by which clocks are set while nobody notices
	age := now.Sub(w.Since)
	return age > -slack && age < l.patience()
}

// AcquireWhenFree makes the nodes that are wanted the user's, as Acquire and AcquireAny do:
// at once, when they are available, or in the transaction that frees the last of them, when
// it is the user's turn. When ctx ends first, so does the wish, and the error is that of ctx;
// nodes that were granted at that moment go to the next. What can never be is a fault at once.
func (l *Lab) AcquireWhenFree(ctx context.Context, user auth.Name, want Want, how Waiting) (Result, error) {
	me := l.waiters.enter()
	var wish *Wish
	defer func() {
		l.waiters.leave(me)
		if wish != nil { // its row may be there still, since the store failed
			l.waiters.stir()
		}
	}()
	c, err := l.commit(ctx, user.Actor(), noConsent, func(c *change) (err error) {
		wish, err = c.arrive(ctx, user, want, Wish{User: user, Remarks: want.Remarks, Line: lineOf(how.Line), Waiter: me.token})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	if wish == nil {
		err := c.restart(ctx)
		return c.result, err
	}
	l.heard.add(c.hear, user, c.hears, l.Now())
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

// lineOf is a line that users typed, to find it again; of a long one its digest.
func lineOf(typed string) string {
	if len(typed) <= 200 {
		return typed
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(typed)))
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
	here := false
	_, err := l.commit(context.WithoutCancel(ctx), journal.Server, noConsent, func(c *change) (err error) {
		var w Wish
		w, here, err = wishes.Find(c.tx, wish.key())
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
	case !here:
		return Result{}, errEnded
	}
	return o.Result, o.err
}

// errEnded is for whose wish ended while they were about to be told: they were removed.
var errEnded = fault.New(fault.Interrupted, "no longer waiting: what was granted was taken back")

// errGone is for nobody: the client is not there.
var errGone = fault.New(fault.Interrupted, "the client does not answer; its nodes go to the next")
