package nodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
	"walt/state"
	"walt/state/badger"
)

// TestCrowd has random users take, release, give, retire and wait for nodes, and holds end,
// while clients vanish and the server ends and starts. After each of that it looks, until it
// is so, whether nobody waits while what they want is available and nobody older wants it.
func TestCrowd(t *testing.T) {
	t.Parallel()
	runs, steps := 3, 300
	if testing.Short() {
		runs, steps = 1, 150
	}
	for _, s := range seeds(runs) {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, s)
			defer func() { c.stop(t) }()
			for range steps {
				c.settle(t, c.step(t))
			}
			t.Logf("done so often: %v", c.done)
			if c.done["got what was waited for"] == 0 {
				t.Error("too little happened")
			}
		})
	}
}

// crowd are users of a lab who wait for nodes.
type crowd struct {
	rand    *rand.Rand
	store   state.Store
	lab     testLab
	ends    chan struct{} // closed when the server ends
	ending  *atomic.Bool
	attends chan error
	quit    context.CancelFunc
	all     []*patient
	done    map[string]int
}

// patient is a user who waits, or did.
type patient struct {
	user   auth.Name
	want   Want
	line   string
	stuck  bool // the client answers only when the server ends
	cancel context.CancelFunc
	ended  chan struct{}
	result Result
	err    error
}

var crowdUsers = []auth.Name{"bob", "carol", "dave", "erin"}

func newCrowd(t *testing.T, seed uint64) *crowd {
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	c := &crowd{rand: rand.New(rand.NewPCG(seed, 0)), store: store, done: map[string]int{}}
	c.start(t)
	ok(t, c.lab.users.Ensure(t.Context(), "alice", keyOf("alice")))
	for _, u := range crowdUsers {
		c.lab.user(t, u)
	}
	for _, m := range []images.Model{"m1", "m2"} {
		c.lab.image(t, defaultOf(m))
	}
	for i := range 6 {
		c.lab.node(t, crowdNode(i), images.Model(fmt.Sprintf("m%d", 1+i/4)))
	}
	return c
}

func crowdNode(i int) Name { return Name(fmt.Sprintf("n%d", i)) }

// start starts a server on the store.
func (c *crowd) start(t *testing.T) {
	c.lab = over(c.store, time.Now, newShelf())
	c.ends, c.ending, c.attends = make(chan struct{}), new(atomic.Bool), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	c.quit = cancel
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.lab.view.Run(ctx) })
	g.Go(func() error { return c.lab.attend(ctx) })
	go func() { c.attends <- g.Wait() }() // ends with the server
}

// stop ends the server: who waits keeps the place.
func (c *crowd) stop(t *testing.T) {
	c.ending.Store(true)
	close(c.ends)
	for _, p := range c.all {
		p.cancel()
		<-p.ended
	}
	c.quit()
	ok(t, <-c.attends)
	c.lab.works.Wait()
}

// wait has a user wait.
func (c *crowd) wait(t *testing.T, p *patient) {
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel, p.ended = cancel, make(chan struct{})
	lab, ends, ending := c.lab, c.ends, c.ending
	begun := make(chan struct{})
	var once sync.Once
	how := Waiting{
		Line: p.line, Stopping: ending.Load,
		Report: func(Place) { once.Do(func() { close(begun) }) },
		Alive: func(context.Context) bool {
			if p.stuck {
				<-ends
			}
			return !p.stuck
		},
	}
	go func() { // ends when the wish does, or with the server
		defer close(p.ended)
		p.result, p.err = lab.AcquireWhenFree(ctx, p.user, p.want, how)
	}()
	c.all = append(c.all, p)
	select {
	case <-begun:
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatalf("%s is told nothing", p.user)
	}
}

// step does one thing, and says what.
func (c *crowd) step(t *testing.T) string {
	ctx, l := t.Context(), c.lab
	user := crowdUsers[c.rand.IntN(len(crowdUsers))]
	node := crowdNode(c.rand.IntN(6))
	whoever := consent.Agreement{Whoever: true}
	text := fmt.Sprintf("%s %s", user, node)
	said := func(what string, _ any, err error) string {
		if err == nil {
			c.done[what]++
		}
		return fmt.Sprintf("%s: %s (%v)", what, text, err)
	}
	owner := l.device(t, node).Owner()
	switch p := c.rand.IntN(100); {
	case p < 8:
		r, err := l.Acquire(ctx, user, Only(node), Remarks{}, whoever)
		return said("acquired", r, err)
	case p < 16:
		r, err := l.AcquireAny(ctx, user, Some{N: 1 + c.rand.IntN(2), Model: c.model()}, Remarks{})
		return said("acquired any", r, err)
	case p < 46 && owner != auth.Nobody:
		r, err := l.Release(ctx, owner.Actor(), Only(node))
		return said("released", r, err)
	case p < 50:
		r, err := l.Retire(ctx, user, Only(node), "", whoever)
		return said("retired", r, err)
	case p < 58:
		r, err := l.Return(ctx, user, parse("all-nodes"))
		return said("returned", r, err)
	case p < 62 && owner != auth.Nobody && owner != user:
		_, err := l.Ask(ctx, user, Only(node), "")
		if err != nil {
			return said("asked", nil, err)
		}
		r, err := l.Give(ctx, owner, Only(node), user, true)
		return said("gave", r, err)
	case p < 66 && owner != auth.Nobody:
		return c.expire(t, owner, node)
	case p < 70 && len(c.all) > 0:
		one := c.all[c.rand.IntN(len(c.all))]
		if !one.stuck { // one that is ends when the server does
			one.cancel()
			<-one.ended
		}
		return "gave up: " + string(one.user)
	case p < 72:
		all, err := l.Queue(ctx)
		ok(t, err)
		if len(all) == 0 {
			return "nobody waits"
		}
		return said("cancelled", nil, l.CancelWish(ctx, "alice", all[c.rand.IntN(len(all))].ID, true))
	case p < 75:
		return c.restart(t)
	}
	if c.waiting() >= 5 {
		return "enough wait"
	}
	one := &patient{user: user, want: anyOf(1+c.rand.IntN(3), c.model()), stuck: c.rand.IntN(10) == 0}
	if c.rand.IntN(3) == 0 {
		one.want = Want{Set: parse(fmt.Sprintf("%s,%s", node, crowdNode(c.rand.IntN(6))))}
	}
	one.line = fmt.Sprintf("%v %v", one.want.Some, one.want.Set)
	c.wait(t, one)
	return fmt.Sprintf("waits: %s for %s", user, one.line)
}

func (c *crowd) model() images.Model { return []images.Model{"", "m1", "m2"}[c.rand.IntN(3)] }

// waiting is how many users wait.
func (c *crowd) waiting() (n int) {
	for _, p := range c.all {
		if !isClosed(p.ended) {
			n++
		}
	}
	return n
}

// expire has the hold of a node end, and one that is not over go on.
func (c *crowd) expire(t *testing.T, owner auth.Name, n Name) string {
	ok(t, errorOf(c.lab.Extend(t.Context(), owner, Only(n), End{At: time.Now().Add(time.Hour)}, false)))
	freed, err := c.lab.release(t.Context(), []Name{n})
	if ok(t, err); freed != 0 || c.lab.device(t, n).Owner() != owner {
		t.Fatalf("the hold of %s ended early", n)
	}
	ok(t, errorOf(c.lab.Extend(t.Context(), owner, Only(n), End{At: time.Now().Add(-time.Second)}, false)))
	freed, err = c.lab.release(t.Context(), []Name{n})
	if ok(t, err); freed != 1 {
		t.Fatalf("the hold of %s did not end", n)
	}
	c.done["expired"]++
	return "expired: " + string(n)
}

// restart has the server end and start. Most of those who waited come back.
func (c *crowd) restart(t *testing.T) string {
	var back []*patient
	for _, p := range c.all {
		if !isClosed(p.ended) && c.rand.IntN(4) > 0 {
			back = append(back, p)
		}
	}
	c.stop(t)
	c.all = nil
	c.start(t)
	c.rand.Shuffle(len(back), func(i, j int) { back[i], back[j] = back[j], back[i] })
	ids := map[int]bool{}
	for _, w := range c.wishes(t) {
		ids[w.ID] = true
	}
	for _, p := range back {
		c.wait(t, &patient{user: p.user, want: p.want, line: p.line})
	}
	for _, w := range c.wishes(t) {
		if ids[w.ID] && c.lab.waiters.here(w.Waiter) {
			c.done["took up a place"]++
		}
	}
	// Who does not come back is waited for no longer than this test likes.
	for _, w := range c.wishes(t) {
		if !c.lab.waiters.here(w.Waiter) {
			ok(t, c.lab.end(t.Context(), &w, nil))
		}
	}
	c.lab.waiters.stir()
	return "restarted"
}

func (c *crowd) wishes(t *testing.T) []Wish {
	t.Helper()
	ws, err := state.Read(t.Context(), c.store, func(r state.Reader) ([]Wish, error) { return wishes.All(r, "") })
	ok(t, err)
	return ws
}

// settle waits until all that follows from what was done has happened.
func (c *crowd) settle(t *testing.T, what string) {
	t.Helper()
	var wrong string
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if wrong = c.wrong(t); wrong == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %s", what, wrong)
		}
	}
	if bad := broken(t, c.store); len(bad) > 0 {
		t.Fatalf("after %s: %v", what, bad)
	}
	c.all = slices.DeleteFunc(c.all, func(p *patient) bool {
		if !isClosed(p.ended) {
			return false
		}
		p.cancel()
		switch n := len(p.result.Changes); {
		case p.err == nil && n == 0, p.want.Some.N > 0 && n > p.want.Some.N: // fewer, when others took some before it came back
			t.Fatalf("after %s: %s waited for %s and got %v", what, p.user, p.line, p.result.Changes)
		case p.err == nil:
			c.done["got what was waited for"]++
		}
		return true
	})
}

// wrong says who waits for what is available and nobody older wants, or got something and was
// not told; "" when all is as it should be.
func (c *crowd) wrong(t *testing.T) (wrong string) {
	t.Helper()
	ok(t, c.store.View(t.Context(), func(r state.Reader) error {
		wrong = ""
		all, err := everything(r)
		if err != nil {
			return err
		}
		ws, err := wishes.All(r, "")
		if err != nil {
			return err
		}
		available := map[ethernet.MAC]bool{}
		owner := map[ethernet.MAC]auth.Name{}
		for _, d := range all {
			owner[d.MAC] = d.Owner()
			available[d.MAC] = d.Free() && d.Retired() == nil
		}
		for _, w := range ws {
			if w.granted() {
				if !c.stuck(w.User) {
					wrong = fmt.Sprintf("%s was not told of %v", w.User, w.Given)
				}
				continue
			}
			var there []ethernet.MAC
			met := true
			for _, d := range all {
				wanted := w.N > 0 && (w.Model == "" || w.Model == d.Model) || slices.Contains(w.Nodes, d.MAC)
				switch {
				case !wanted:
				case available[d.MAC]:
					there = append(there, d.MAC)
				case w.N == 0 && owner[d.MAC] != w.User:
					met = false
				}
			}
			if met && len(there) >= w.N {
				wrong = fmt.Sprintf("%s waits for %d %s %v, of which there are %v", w.User, w.N, w.Model, w.Nodes, there)
			}
			for _, mac := range there {
				available[mac] = false // it is kept
			}
		}
		return nil
	}))
	return wrong
}

// stuck reports whether a user has a client that does not answer.
func (c *crowd) stuck(user auth.Name) bool {
	return slices.ContainsFunc(c.all, func(p *patient) bool { return p.user == user && p.stuck && !isClosed(p.ended) })
}
