package nodes

import (
	"context"
	"slices"
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
}

// NextEnd is when a node is to be released.
type NextEnd struct {
	Node  Name
	Owner auth.Name
	At    time.Time
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

// fits reports whether nodes may be of both models, "" for any.
func fits(a, b images.Model) bool { return a == "" || b == "" || a == b }

// overlap reports whether there may be nodes that both want. What sets they are of is not
// looked at.
func (w *Wish) overlap(other *Wish, models map[ethernet.MAC]images.Model) bool {
	switch {
	case w.N > 0 && other.N > 0:
		return fits(w.Model, other.Model)
	case w.N > 0:
		return other.overlap(w, models)
	case other.N > 0:
		return slices.ContainsFunc(w.Nodes, func(mac ethernet.MAC) bool { return fits(other.Model, models[mac]) })
	}
	return slices.ContainsFunc(w.Nodes, func(mac ethernet.MAC) bool { return slices.Contains(other.Nodes, mac) })
}

// tellPlaces tells those who wait where they stand.
func (l *Lab) tellPlaces(ctx context.Context, there map[int]int) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		ws, err := wishes.All(r, "")
		if err != nil {
			return err
		}
		places, err := placesOf(r, ws)
		if err != nil {
			return err
		}
		for i, p := range places {
			w := &ws[i]
			if w.granted() || !l.waiters.here(w.Waiter) {
				continue
			}
			if p.What, err = w.what(r); err != nil {
				return err
			}
			p.There = there[w.ID]
			l.waiters.stands(w.Waiter, p, func(p *Place) { p.End = l.nextEnd(ctx, r, w) })
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
