package nodes

import (
	"context"
	"iter"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/images"
	"walt/state"
)

// Place is where somebody who waits stands.
type Place struct {
	Place, Of int       // among those who want any of the same nodes, from 1 on
	What      string    // that is waited for
	There     int       // nodes of those that are available and kept for the user
	Ahead     auth.Name // who is next before the user, "" for nobody
	Wants     string    // what that one wants
	Since     time.Time // and since when
	End       *NextEnd  // the next that is known; nil: none is
	Retired   []Name    // without which it cannot be met, and which are out of service
}

// NextEnd is when a node is to be released.
type NextEnd struct {
	Node  Name
	Owner auth.Name
	At    time.Time
}

// placesOf says where each of the wishes stands, in as many places.
func placesOf(r state.Reader, ws []Wish) ([]Place, error) {
	all := parties{any: map[string]*party{}, naming: map[ethernet.MAC][]*party{}, models: map[ethernet.MAC]images.Model{}}
	places := make([]Place, len(ws))
	of := make([]*party, len(ws)) // nil: of none, for it is granted
	for i := range ws {
		w := &ws[i]
		if w.granted() {
			continue
		}
		mine, err := all.of(r, w)
		if err != nil {
			return nil, err
		}
		places[i].Place = 1
		ahead := -1
		for c := range all.near(w, mine) {
			places[i].Place += c.count
			ahead = max(ahead, c.last)
		}
		if ahead >= 0 {
			next := &ws[ahead]
			what, err := next.what(r)
			if err != nil {
				return nil, err
			}
			places[i].Ahead, places[i].Wants, places[i].Since = next.User, what, next.Since
		}
		mine.count, mine.last, of[i] = mine.count+1, i, mine
		all.add(w, mine)
	}
	for i := range ws {
		if of[i] == nil {
			continue
		}
		for c := range all.near(&ws[i], of[i]) {
			places[i].Of += c.count
		}
	}
	return places, nil
}

// party is the wishes that want any of the same nodes, or one that wants named ones.
type party struct {
	models map[images.Model]bool // of its nodes; of any model: ""
	count  int                   // of the wishes, and which of them came last
	last   int
	asked  int
}

// parties are all of them, so that who may be in whose way is found without a look at each node
// of each. What sets any nodes are of is not looked at.
type parties struct {
	any    map[string]*party // by their kind
	named  []*party
	naming map[ethernet.MAC][]*party
	models map[ethernet.MAC]images.Model // of the nodes that are named
	asked  int
}

// of returns the party that a wish is of, or is to be added as.
func (cs *parties) of(r state.Reader, w *Wish) (*party, error) {
	if w.N > 0 {
		if c := cs.any[w.kind()]; c != nil {
			return c, nil
		}
		return &party{models: map[images.Model]bool{w.Model: true}}, nil
	}
	c := &party{models: map[images.Model]bool{}}
	for _, mac := range w.Nodes {
		if _, known := cs.models[mac]; !known {
			ds, err := withMACs(r, []ethernet.MAC{mac})
			if err != nil {
				return nil, err
			}
			for _, d := range ds {
				cs.models[mac] = d.Model
			}
		}
		if m := cs.models[mac]; m != "" {
			c.models[m] = true
		}
	}
	return c, nil
}

// add has a party be one of them.
func (cs *parties) add(w *Wish, c *party) {
	if w.N > 0 {
		cs.any[w.kind()] = c
		return
	}
	cs.named = append(cs.named, c)
	for _, mac := range w.Nodes {
		cs.naming[mac] = append(cs.naming[mac], c)
	}
}

// near visits, once each, the parties of those who may want nodes that a wish of the party wants.
func (cs *parties) near(w *Wish, mine *party) iter.Seq[*party] {
	return func(yield func(*party) bool) {
		for _, c := range cs.any {
			if c.meets(mine) && !yield(c) {
				return
			}
		}
		if w.N > 0 {
			for _, c := range cs.named {
				if c.meets(mine) && !yield(c) {
					return
				}
			}
			return
		}
		cs.asked++
		for _, mac := range w.Nodes {
			for _, c := range cs.naming[mac] {
				if c.asked == cs.asked {
					continue
				}
				if c.asked = cs.asked; !yield(c) {
					return
				}
			}
		}
	}
}

// meets reports whether there may be nodes of a model of both.
func (c *party) meets(other *party) bool {
	if c.models[""] || other.models[""] {
		return true
	}
	for m := range c.models {
		if other.models[m] {
			return true
		}
	}
	return false
}

// tellPlaces tells those who wait where they stand; others says that there are other nodes
// than there were.
func (l *Lab) tellPlaces(ctx context.Context, there map[int]int, others bool) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		ws, err := wishes.All(r, "")
		if err != nil {
			return err
		}
		places, err := placesOf(r, ws)
		if err != nil {
			return err
		}
		all := census{}
		for i, p := range places {
			w := &ws[i]
			if w.granted() || !l.waiters.here(w.Waiter) {
				continue
			}
			if p.What, err = w.what(r); err != nil {
				return err
			}
			p.There = there[w.ID]
			l.waiters.stands(w.Waiter, p, others, func(p *Place, first bool) {
				if p.Retired = l.lacks(ctx, r, w, all); first {
					p.End = l.nextEnd(ctx, r, w)
				}
			})
		}
		return nil
	})
}

// nextEnd returns which of the nodes that a wish could be met with is the next to be released,
// as far as that is known; nil: it is not.
func (l *Lab) nextEnd(ctx context.Context, r state.Reader, w *Wish) *NextEnd {
	wants, err := l.wants(ctx, r, w)
	if err != nil {
		return nil
	}
	next, _ := read(ctx, l.view, func() (next *NextEnd) {
		for owner, ds := range l.view.owned {
			if owner == auth.Nobody || owner == w.User {
				continue
			}
			for _, d := range ds {
				at := d.Hold()
				if !at.IsZero() && (wants == nil || wants(d)) && (next == nil || at.Before(next.At)) {
					next = &NextEnd{d.Name, owner, at}
				}
			}
		}
		return next
	})
	return next
}
