package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Wish is what a user waits for. Its row is not touched while nothing becomes of it: those
// who wait disturb neither each other nor those who free nodes.
type Wish struct {
	ID      int            `json:"id"` // in the order of arrival; none is used again
	User    auth.Name      `json:"user"`
	N       int            `json:"n,omitempty"` // of any nodes; 0: all of Nodes
	Model   images.Model   `json:"model,omitempty"`
	Set     string         `json:"set,omitempty"`   // that any of it is wanted; "": of all
	Nodes   []ethernet.MAC `json:"nodes,omitempty"` // by what stays theirs when they get other names
	Remarks Remarks        `json:"remarks,omitzero"`
	Since   time.Time      `json:"since"`          // UTC
	Line    string         `json:"line,omitempty"` // that the user typed, see lineOf
	Waiter  string         `json:"waiter"`         // see waiters
	Granted time.Time      `json:"granted,omitzero"`
	Given   []ethernet.MAC `json:"given,omitempty"` // the nodes that it got when it was granted, and was not told yet
}

var (
	// wishes, in the order of arrival. A transaction that has seen all of them conflicts with
	// new ones too: who frees nodes and who begins to wait for them see each other.
	wishes = state.NewTable[Wish]("wish").Guarded(0)
	// lastWish has one row, "id": that of the wish that came last.
	lastWish = state.NewTable[int]("last-wish")
)

func (w *Wish) key() string { return fmt.Sprintf("%012d", w.ID) }

// granted reports whether its nodes are the user's, who was not told yet.
func (w *Wish) granted() bool { return !w.Granted.IsZero() }

// some are the nodes of which it wants any; none are when it wants named ones.
func (w *Wish) some() (Some, error) {
	some := Some{N: w.N, Model: w.Model}
	if w.Set == "" {
		return some, nil
	}
	var err error
	some.Set, err = ParseSet(w.Set)
	return some, err
}

// alike reports whether they want the same.
func (w *Wish) alike(other *Wish) bool {
	return w.N == other.N && w.kind() == other.kind() && slices.Equal(w.Nodes, other.Nodes)
}

// kind is what wishes for any of the same nodes have in common, and "" for named ones.
func (w *Wish) kind() string {
	switch {
	case w.N == 0:
		return ""
	case w.Set == "":
		return "any " + string(w.Model)
	}
	return fmt.Sprintf("any %s of %s of %s", w.Model, w.Set, w.User) // who may be meant there
}

// wants returns what tells which nodes, whoever has them, are among those that a wish could
// be met with; nil: all are. A fault says that there are no such nodes any more.
func (l *Lab) wants(ctx context.Context, r state.Reader, w *Wish) (func(*Device) bool, error) {
	if w.N == 0 {
		return func(d *Device) bool { return slices.Contains(w.Nodes, d.MAC) }, nil
	}
	some, err := w.some()
	if err != nil {
		return nil, err
	}
	return l.wanted(ctx, r, w.User, some)
}

// options are what a user types for it.
func (s Some) options() string {
	text := fmt.Sprintf("--any %d", s.N)
	if s.Model != "" {
		text += " --model " + string(s.Model)
	}
	if !s.Set.IsZero() {
		text += " " + s.Set.String()
	}
	return text
}

// what says what it wants, in words for users.
func (w *Wish) what(r state.Reader) (string, error) {
	if w.N > 0 {
		return w.ofWhich(), nil
	}
	var some []Name
	for _, mac := range w.Nodes[:min(fault.MostNames, len(w.Nodes))] {
		name, known, err := macs.Find(r, string(mac))
		if err != nil {
			return "", err
		}
		if known {
			some = append(some, name)
		}
	}
	slices.SortFunc(some, Name.Compare) // some may be called otherwise by now
	return fault.FewOf(some, len(some)+max(0, len(w.Nodes)-fault.MostNames)), nil
}

// ofWhich says how many of which it wants, as in "2 of rpi-3-b".
func (w *Wish) ofWhich() string {
	const most = 100 // of a set, in characters
	which, set := "all nodes", w.Set
	if len(set) > most {
		set = set[:most] + "..."
	}
	switch {
	case set != "" && w.Model != "":
		which = string(w.Model) + " of " + set
	case set != "" || w.Model != "":
		which = string(w.Model) + set
	}
	return fmt.Sprintf("%d of %s", w.N, which)
}

// addWish writes a wish that is new.
func (c *change) addWish(w *Wish) error {
	last, _, err := lastWish.Find(c.tx, "id")
	if err != nil {
		return err
	}
	w.ID = last + 1
	return errors.Join(lastWish.Put(c.tx, "id", w.ID), wishes.Put(c.tx, w.key(), *w), c.recordWish(w, "waits"))
}

// recordWish has the log tell what becomes of a wish that is not granted.
func (c *change) recordWish(w *Wish, detail string) error {
	what, err := w.what(c.tx)
	if err != nil {
		return err
	}
	if c.actor != w.User.Actor() {
		detail = string(w.User) + " " + detail
	}
	return c.lab.Journal.Record(c.tx, journal.Event{Type: journal.Queue, Actor: c.actor, To: string(w.User), Detail: detail + " for " + what})
}

// dropWish removes a wish; why is what its user is told who may still wait, nil for nothing.
// What was kept for it goes to others in the same transaction, and so do the nodes that it
// was granted and that are still the user's by that.
func (c *change) dropWish(w *Wish, why error) error {
	c.stirred = true
	c.ended = append(c.ended, ending{w.Waiter, why})
	if err := wishes.Delete(c.tx, w.key()); err != nil {
		return err
	}
	if !w.granted() {
		return c.recordWish(w, "waits no more")
	}
	ds, err := w.given(c.tx)
	if err != nil {
		return err
	}
	return c.free(ds)
}

// given returns those of the nodes that it was granted that are still the user's by that.
func (w *Wish) given(r state.Reader) ([]Device, error) {
	ds, err := withMACs(r, w.Given)
	return slices.DeleteFunc(ds, func(d Device) bool { return d.Owner() != w.User || d.Since.After(w.Granted) }), err
}

// awaited returns who waits for a node and could get it were it free, in the order of
// arrival; not its owner.
func (l *Lab) awaited(ctx context.Context, r state.Reader, d Device) (who []auth.Name, err error) {
	waiting, err := l.waitingForOthers(ctx, r, d.Owner())
	return appendWaiting(nil, waiting, &d), err
}

// appendWaiting adds to users those who wait for a node, each once.
func appendWaiting(who []auth.Name, waiting []awaiting, d *Device) []auth.Name {
	for _, w := range waiting {
		if w.wants(d) && !slices.Contains(who, w.User) {
			who = append(who, w.User)
		}
	}
	return who
}

// awaiting is a wish, and what tells which nodes it waits for.
type awaiting struct {
	Wish
	wants func(*Device) bool
}

// waitingForOthers returns what others than a user wait for, in the order of arrival.
func (l *Lab) waitingForOthers(ctx context.Context, r state.Reader, not auth.Name) (all []awaiting, err error) {
	ws, err := wishes.All(r, "")
	if err != nil {
		return nil, err
	}
	kinds := map[string]func(*Device) bool{}
	for _, w := range ws {
		if w.User == not || w.granted() {
			continue
		}
		wants, known := kinds[w.kind()]
		if !known || w.N == 0 {
			wants, err = l.wants(ctx, r, &w)
			if fault.As(err) != nil { // it ends when it is looked after
				wants = func(*Device) bool { return false }
			} else if err != nil {
				return nil, err
			}
			if wants == nil {
				wants = func(d *Device) bool { return d.Kind == Node }
			}
			kinds[w.kind()] = wants
		}
		all = append(all, awaiting{w, wants})
	}
	return all, nil
}

// Queued is a wish that waits, as it is shown.
type Queued struct {
	Wish
	What  string // that it wants, as in "2 of rpi-3-b"
	Place int    // 1 for one before which nobody wants any of the same nodes
	Here  bool   // that the user waits; else the place is kept for a moment
}

// Queue returns the wishes that wait, in the order of arrival.
func (l *Lab) Queue(ctx context.Context) (all []Queued, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		all = nil
		ws, err := wishes.All(r, "")
		if err != nil {
			return err
		}
		places, err := placesOf(r, ws)
		if err != nil {
			return err
		}
		for i, w := range ws {
			if w.granted() {
				continue
			}
			what, err := w.what(r)
			if err != nil {
				return err
			}
			all = append(all, Queued{w, what, places[i].Place, l.waiters.here(w.Waiter)})
		}
		return nil
	})
	return all, err
}

// CancelWish ends a wish, one of the user's own unless any may be ended. Who waits is told.
func (l *Lab) CancelWish(ctx context.Context, user auth.Name, id int, any bool) error {
	_, err := l.commit(ctx, user.Actor(), noConsent, func(c *change) error {
		w, here, err := wishes.Find(c.tx, (&Wish{ID: id}).key())
		switch {
		case err != nil:
			return err
		case !here || w.granted():
			return fault.Failedf("nobody waits under the number %d", id).WithHint("see who waits with: node queue")
		case w.User != user && !any:
			return fault.Failedf("%s waits under the number %d, and only they or an administrator may end that; nothing changed", w.User, id).WithHint("see who waits with: node queue")
		}
		by := string(user)
		if w.User == user {
			by = "you"
		}
		return c.dropWish(&w, fault.New(fault.Interrupted, "no longer waiting: %s cancelled it", by))
	})
	return err
}

// dropWishesOf removes the wishes of a user who leaves.
func (c *change) dropWishesOf(user auth.Name) error {
	ws, err := wishes.All(c.tx, "")
	if err != nil {
		return err
	}
	for i := range ws {
		if ws[i].User == user {
			if err := c.dropWish(&ws[i], fault.New(fault.Interrupted, "no longer waiting: %s was removed", user)); err != nil {
				return err
			}
		}
	}
	return nil
}

// renameInWishes has what wants any of some nodes go on when one of these is called otherwise.
func renameInWishes(tx state.Tx, old, name Name) error {
	ws, err := wishes.All(tx, "")
	if err != nil {
		return err
	}
	for _, w := range ws {
		some, err := w.some()
		if err != nil {
			return err
		}
		now := some.Set.renamed(old, name).String()
		if now == w.Set {
			continue
		}
		w.Set = now
		if err := wishes.Put(tx, w.key(), w); err != nil {
			return err
		}
	}
	return nil
}
