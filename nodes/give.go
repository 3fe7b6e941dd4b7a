package nodes

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// NotAsked says that a user did not ask for nodes who is to be given them, and nothing was
// done.
type NotAsked struct {
	Nodes []Name // in natural order
	To    auth.Name
}

func (e *NotAsked) Error() string { return fmt.Sprintf("%s did not ask for %v", e.To, e.Nodes) }

// Give hands own nodes of the user over to another one, who asked for each of them (else it
// fails with *NotAsked). They boot clones of their images, in the other's working set, and
// restart on them unless stay: then they go on with what they run, which is the same.
// Whatever others do on them is cut.
func (l *Lab) Give(ctx context.Context, user auth.Name, set Set, to auth.Name, stay bool) (Result, error) {
	if to == user {
		return Result{}, fault.Usagef("%s is you; nothing changed", to).WithHint("to give nodes back to the lab: node release %s", set)
	}
	return l.change(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		c.stay = stay
		if err := auth.Hold(c.tx, to); err != nil {
			return err
		}
		ds, err := c.own(ctx, set, user)
		if err != nil {
			return err
		}
		if not := withoutAsk(ds, to); len(not) > 0 {
			return &NotAsked{not, to}
		}
		return c.give(ds, to)
	})
}

// withoutAsk returns those of the devices that the user did not ask for.
func withoutAsk(ds []Device, user auth.Name) (not []Name) {
	for _, d := range ds {
		if !d.askedBy(user) {
			not = append(not, d.Name)
		}
	}
	return not
}

func (d *Device) askedBy(user auth.Name) bool {
	if d.Said != nil {
		for _, a := range d.Said.Asks {
			if a.By == user {
				return true
			}
		}
	}
	return false
}

// give makes devices of the user who acts somebody else's.
func (c *change) give(ds []Device, to auth.Name) error {
	clones := map[images.Ref]images.Image{}
	for _, d := range ds {
		clone, known := clones[d.Image]
		if !known {
			var made bool
			var err error
			if clone, made, err = c.lab.Images.Hand(c.tx, c.actor, d.Image, to); err != nil {
				return err
			}
			if made {
				c.result.Cloned = append(c.result.Cloned, clone)
			}
			clones[d.Image] = clone
		}
		if c.stay && d.Booted == d.Image {
			d.Booted = clone.Ref
		}
		if err := c.boots([]Device{d}, clone); err != nil {
			return err
		}
		giver := c.actor.Words()
		c.told.Tell(string(to), string(d.Name), journal.Notice{One: giver + " gave you the node %s", Several: "%s were given to you by " + giver})
		if err := c.assignImage(d, clone); err != nil {
			return err
		}
	}
	return nil
}

// Offer tells a user that another one would give them nodes, and returns when the user has
// asked for all of them, or one changed hands: then Give knows more. It returns ctx's error
// when that ends first. Who was told within a minute is not told again.
func (l *Lab) Offer(ctx context.Context, user auth.Name, offered *NotAsked) error {
	prefixes := make([]string, len(offered.Nodes))
	for i, n := range offered.Nodes {
		prefixes[i] = devices.Prefix(string(n))
	}
	w := l.Store.Watch(prefixes...)
	defer w.Close()
	if !l.offers.begin(user, offered.To, l.Now()) {
		_, err := l.Store.Update(ctx, func(tx state.Tx) error {
			return l.Journal.Tell(tx, string(offered.To), fmt.Sprintf("%s%s; to take that: node ask %s", offerOf(user), fault.Few(offered.Nodes), fault.Joined(offered.Nodes, ",")))
		})
		if err != nil {
			l.offers.end(user, offered.To)
			return err
		}
	}
	defer l.endOffer(ctx, user, offered.To)
	for {
		done, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) {
			for _, n := range offered.Nodes {
				d, known, err := devices.Find(r, string(n))
				if err != nil || !known || d.Owner() != user {
					return true, err
				}
				if !d.askedBy(offered.To) {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil || done {
			return err
		}
		if _, err := w.Next(ctx); err != nil {
			return err
		}
	}
}

// offerOf begins what a user is told to whom another one would give nodes.
func offerOf(user auth.Name) string { return string(user) + " would give you " }

// endOffer notes that an offer is over. When it was the last one, whoever was not shown it yet
// never is: it cannot be taken any more.
func (l *Lab) endOffer(ctx context.Context, user, to auth.Name) {
	if !l.offers.end(user, to) {
		return
	}
	unseen := false
	_, err := l.Store.Update(context.WithoutCancel(ctx), func(tx state.Tx) (err error) {
		unseen, err = l.Journal.Untell(tx, string(to), func(text string) bool { return strings.HasPrefix(text, offerOf(user)) })
		return err
	})
	if err != nil {
		l.Log.Error("take back an offer", "to", to, "err", err)
	}
	if unseen {
		l.offers.forget(user, to)
	}
}

// offers are the nodes that users would give to others, who are told so. The zero offers
// are none.
type offers struct {
	mu   sync.Mutex
	told map[[2]auth.Name]time.Time // from and to whom
	now  map[[2]auth.Name]int       // how many of them are waited for
}

// begin notes that an offer is waited for, until end, and reports whether the user was told
// of one within a minute.
func (o *offers) begin(from, to auth.Name, now time.Time) (lately bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil {
		o.told, o.now = map[[2]auth.Name]time.Time{}, map[[2]auth.Name]int{}
	}
	pair := [2]auth.Name{from, to}
	before, known := o.told[pair]
	o.now[pair]++
	if known && now.Sub(before) < time.Minute {
		return true
	}
	o.told[pair] = now
	return false
}

// end notes that an offer is waited for no longer, and reports whether none is by now.
func (o *offers) end(from, to auth.Name) (last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pair := [2]auth.Name{from, to}
	o.now[pair]--
	return o.now[pair] == 0
}

// forget has the next offer be told, however soon it comes.
func (o *offers) forget(from, to auth.Name) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.told, [2]auth.Name{from, to})
}

// open reports whether an offer is waited for.
func (o *offers) open(from, to auth.Name) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now[[2]auth.Name{from, to}] > 0
}
