package nodes

import (
	"cmp"
	"slices"
	"time"

	"walt/images"
)

// pass lets time pass.
func (w *world) pass(until time.Time) {
	for {
		var next *event
		for _, e := range w.events() {
			if !e.at.After(until) && (next == nil || e.at.Before(next.at)) {
				next = &e
			}
		}
		if next == nil {
			w.now = until
			return
		}
		if next.at.After(w.now) {
			w.now = next.at
		}
		next.do()
		w.rest()
	}
}

// events are what is to come: holds end, clients do not wait any longer, wishes end for which
// nobody came back, and others pass those whose patience is over.
func (w *world) events() (all []event) {
	for _, d := range w.things {
		if end := w.endOf(d); !end.IsZero() {
			all = append(all, event{end, w.endHolds})
		}
	}
	for _, wi := range w.wishes {
		if c := w.clients[wi.client]; !c.deadline.IsZero() && !wi.granted() {
			all = append(all, event{c.deadline, func() { w.quit(wi.client, "timeout") }})
		}
		if over := wi.since.Add(patience); !wi.granted() && over.After(w.now) {
			all = append(all, event{over, func() {}})
		}
		if until := wi.say.end.At; !wi.granted() && !until.IsZero() {
			all = append(all, event{until, func() {}})
		}
		if wi.client == 0 {
			all = append(all, event{wi.absent.Add(keptFor), func() {
				w.commit(func(w *world) string {
					w.drop("", wi.id, "")
					return done
				})
			}})
		}
	}
	return all
}

// endOf is when the hold of a node ends, the zero time if it does not.
func (w *world) endOf(d thing) time.Time {
	if grace := w.started.Add(holdGrace); w.now.Before(grace) && !d.until.IsZero() && w.spared[d.id].Equal(d.until) {
		return grace
	}
	return d.until
}

// endHolds ends the holds that are over.
func (w *world) endHolds() {
	var over []Name
	for n, d := range w.things {
		if end := w.endOf(d); !end.IsZero() && !end.After(w.now) {
			over = append(over, n)
		}
	}
	slices.SortFunc(over, func(a, b Name) int {
		return cmp.Or(w.things[a].until.Compare(w.things[b].until), cmp.Compare(a, b))
	})
	w.commit(func(w *world) string {
		for _, n := range over {
			w.boot("", n, images.DefaultRef(w.things[n].model), remarks{})
		}
		return done
	})
}

// start is that of the server, at which nobody waits, and holds go on for a while.
func (w *world) start() {
	w.started, w.spared = w.now, map[int]time.Time{}
	for _, d := range w.things {
		if !d.until.IsZero() && !d.until.After(w.now.Add(holdGrace)) {
			w.spared[d.id] = d.until
		}
	}
	w.clients = map[int]client{}
	for i := range w.wishes {
		w.wishes[i].client, w.wishes[i].absent = 0, w.now
	}
	w.rest()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// event is something that comes by itself.
type event struct {
	at time.Time
	do func()
}
