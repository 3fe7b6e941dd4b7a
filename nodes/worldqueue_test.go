package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
)

// wish is what a user waits for.
type wish struct {
	id     int
	user   auth.Name
	n      int // of any nodes; 0: all of nodes
	model  images.Model
	set    string
	nodes  []int // the numbers of things
	say    remarks
	line   string // that the user typed
	since  time.Time
	client int       // 0: nobody waits
	absent time.Time // since when
	// Once it is granted: when, the nodes, and what its user is to be told.
	at    time.Time
	given []int
	got   string
}

func (wi wish) granted() bool { return !wi.at.IsZero() }

// kind is what wishes for any of the same nodes have in common.
func (wi wish) kind() string {
	if wi.set == "" {
		return string(wi.model)
	}
	return fmt.Sprint(wi.model, wi.set, wi.user)
}

// which says of which nodes it wants some.
func (wi wish) which() string {
	if wi.model != "" && wi.set != "" {
		return string(wi.model) + " of " + wi.set
	}
	return cmp.Or(string(wi.model)+wi.set, "all nodes")
}

// client is who waits.
type client struct {
	how      answer
	deadline time.Time // zero: none
	end      string    // what it was told, "" while it waits
}

// answer is what a client does that is asked whether it is there.
type answer int

const (
	answers answer = iota
	isGone
	stuck // until that changes
)

func (w *world) line(wi wish) string {
	if wi.granted() {
		return fmt.Sprintf("wish %d of %s was granted %s", wi.id, wi.user, w.named(wi.given))
	}
	return fmt.Sprintf("wish %d of %s for %d of %s %q or %s, since %s%s", wi.id, wi.user, wi.n, wi.model, wi.set, w.named(wi.nodes), clock(wi.since), wi.say)
}

// named are the names of things, without those that are gone.
func (w *world) named(ids []int) (names []Name) {
	for n, d := range w.things {
		if slices.Contains(ids, d.id) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, naturalNames)
	return names
}

// wants returns what tells which nodes a wish could be met with, whoever has them, or failed
// when there are none any more.
func (w *world) wants(wi wish) (func(Name) bool, string) {
	if wi.n == 0 {
		return func(n Name) bool { return slices.Contains(wi.nodes, w.things[n].id) }, done
	}
	all, _ := w.find(wi.user, "all-nodes", true)
	some, end := all, done
	if wi.set != "" {
		some, end = w.find(wi.user, wi.set, true)
	}
	if wi.model != "" && !slices.ContainsFunc(all, func(n Name) bool { return w.things[n].model == wi.model }) {
		end = failed
	}
	return func(n Name) bool {
		return slices.Contains(some, n) && (wi.model == "" || w.things[n].model == wi.model)
	}, end
}

// disturbed are the facts of who is disturbed by a user who takes nodes: their owners, and of
// those that are available the first who waits for them.
func (w *world) disturbed(user auth.Name, names []Name) (all []consent.Claim) {
	for _, n := range names {
		all = append(all, w.facts(user, []Name{n})...)
		if first := w.waitingFor(n, user); w.things[n].available() && len(first) > 0 {
			wi := first[0]
			some := w.named(wi.nodes[:min(fault.MostNames, len(wi.nodes))])
			what := fault.FewOf(some, len(some)+max(0, len(wi.nodes)-fault.MostNames))
			if wi.n > 0 {
				what = fmt.Sprintf("%d of %s", wi.n, wi.which())
			}
			all = append(all, consent.Claim{Node: string(n), Owner: wi.user, Since: wi.since, Uses: fmt.Sprintf("is free, and %s waits for %s", wi.user, what)})
		}
	}
	return all
}

// waitingFor are the wishes of others that could be met with a node.
func (w *world) waitingFor(n Name, not auth.Name) (all []wish) {
	for _, wi := range w.wishes {
		if wi.user == not || wi.granted() {
			continue
		}
		if wants, end := w.wants(wi); end == done && wants(n) {
			all = append(all, wi)
		}
	}
	return all
}

// nodesFor returns the nodes that there are for a wish, and whether they are enough; failed
// when they never will be.
func (w *world) nodesFor(wi wish, kept map[Name]bool) (names []Name, enough bool, end string) {
	if wi.say.over(w.now) {
		return nil, false, failed
	}
	wants, end := w.wants(wi)
	if wi.n > 0 {
		names = w.pick(wi.n, func(n Name) bool { return !kept[n] && wants(n) })
		return names, len(names) == wi.n, end
	}
	all := w.named(wi.nodes)
	if enough = true; len(all) < len(wi.nodes) {
		return nil, false, failed
	}
	for _, n := range all {
		switch d := w.things[n]; {
		case d.kind != Node:
			return nil, false, failed
		case d.image.User == wi.user:
		case d.available() && !kept[n]:
			names = append(names, n)
		default:
			enough = false
		}
	}
	return names, enough, done
}

// turns has each of some wishes have its turn. With grant, those that can be met are, when
// somebody waits for them. It returns what is kept.
func (w *world) turns(some []wish, grant bool) (kept map[Name]bool) {
	kept = map[Name]bool{}
	for _, wi := range slices.Clone(some) {
		if wi.granted() {
			continue
		}
		names, enough, end := w.nodesFor(wi, kept)
		if end != done {
			if grant {
				w.drop("", wi.id, failed)
			}
			continue
		}
		if enough && grant && wi.client != 0 {
			w.grant(wi, names)
			continue
		}
		if enough || w.now.Before(wi.since.Add(patience)) {
			for _, n := range names {
				kept[n] = true
			}
		}
	}
	return kept
}

func (w *world) grant(wi wish, names []Name) {
	slices.SortFunc(names, naturalNames)
	if end := w.take(wi.user, names, wi.say); end != done {
		w.drop("", wi.id, failed)
		return
	}
	w.granted++
	i := w.wish(wi.id)
	wi.at, wi.got = w.now, w.gets(wi, names)
	for _, n := range names {
		wi.given = append(wi.given, w.things[n].id)
	}
	w.wishes[i] = wi
}

// gets is what a user is told who gets nodes, and had the other ones that were named.
func (w *world) gets(wi wish, names []Name) string {
	all := w.named(wi.nodes)
	all = append(all, slices.DeleteFunc(slices.Clone(names), func(n Name) bool { return slices.Contains(all, n) })...)
	slices.SortFunc(all, naturalNames)
	return fmt.Sprint("got ", all)
}

// wish is where in the queue one is, -1 if it is not.
func (w *world) wish(id int) int {
	return slices.IndexFunc(w.wishes, func(wi wish) bool { return wi.id == id })
}

// serve gives those who wait what the present command freed.
func (w *world) serve() {
	for w.stirred {
		w.stirred = false
		w.turns(w.wishes, true)
	}
}

// drop ends a wish. The nodes that it was granted, and that are still its user's by that,
// become free.
func (w *world) drop(actor auth.Name, id int, end string) {
	i := w.wish(id)
	wi := w.wishes[i]
	w.wishes = slices.Delete(w.wishes, i, i+1)
	w.stirred = true
	w.ends(wi.client, end)
	if wi.granted() {
		w.free(actor, w.still(wi))
	}
}

// still are the nodes that a wish was granted and that are still its user's by that.
func (w *world) still(wi wish) []Name {
	return slices.DeleteFunc(w.named(wi.given), func(n Name) bool {
		d := w.things[n]
		return d.image.User != wi.user || d.since.After(wi.at)
	})
}

// ends has a client, 0 for none, be told the end of its waiting.
func (w *world) ends(id int, end string) {
	if id != 0 {
		c := w.clients[id]
		c.end = end
		w.clients[id] = c
	}
}

// settle hands over what was granted.
func (w *world) settle() {
	for _, wi := range slices.Clone(w.wishes) {
		if !wi.granted() || wi.client == 0 || w.wish(wi.id) < 0 {
			continue
		}
		switch w.clients[wi.client].how {
		case answers:
			w.commit(func(w *world) string {
				i := w.wish(wi.id)
				w.wishes = slices.Delete(w.wishes, i, i+1)
				w.ends(wi.client, wi.got)
				return done
			})
		case isGone:
			w.commit(func(w *world) string {
				w.drop("", wi.id, "cancelled")
				return done
			})
			w.settle()
		}
	}
}

// rest is what follows by itself from what was done, until nothing more does.
func (w *world) rest() {
	for before := -1; before != w.granted+w.last-len(w.wishes); {
		before = w.granted + w.last - len(w.wishes)
		w.settle()
		w.commit(func(w *world) string {
			w.turns(w.wishes, true)
			return done
		})
		for _, wi := range slices.Clone(w.wishes) {
			if !wi.granted() && wi.n > 0 && w.possible(wi) < wi.n {
				w.commit(func(w *world) string {
					w.drop("", wi.id, failed)
					return done
				})
			}
		}
	}
}

// possible is how many nodes there are that a wish could be met with.
func (w *world) possible(wi wish) int {
	wants, _ := w.wants(wi)
	all, _ := w.find("", "all-nodes", true)
	return len(slices.DeleteFunc(all, func(n Name) bool { return !wants(n) }))
}

// arrive has a user wait, who gets the nodes at once when they are there; or takes up what is
// kept.
func (w *world) arrive(wi wish) string {
	wi.since = w.now
	var named []Name
	if wi.n == 0 {
		var end string
		if named, end = w.expand(wi.user, wi.set, true); end != done {
			return failed
		}
		wi.set = ""
		for _, n := range named {
			wi.nodes = append(wi.nodes, w.things[n].id)
		}
	}
	if !w.here(wi.user) {
		return failed
	}
	i := slices.IndexFunc(w.wishes, func(old wish) bool { return old.client == 0 && old.user == wi.user && old.same(wi) })
	if i >= 0 && w.wishes[i].granted() {
		old := w.wishes[i]
		w.wishes = slices.Delete(w.wishes, i, i+1)
		if names := w.still(old); len(names) > 0 {
			if wi.say.over(w.now) {
				return failed
			}
			for _, n := range names {
				w.boot(wi.user, n, w.things[n].image, wi.say)
			}
			w.ends(wi.client, fmt.Sprint("got ", names))
			return done
		}
		i = -1
	}
	before := len(w.wishes)
	if i >= 0 {
		before, wi.id, wi.since, wi.nodes, wi.set = i, w.wishes[i].id, w.wishes[i].since, w.wishes[i].nodes, w.wishes[i].set
	} else if end := w.canBe(wi, named); end != done {
		return end
	}
	names, enough, end := w.nodesFor(wi, w.turns(w.wishes[:before], false))
	if end != done {
		return end
	}
	if enough {
		if i >= 0 {
			w.wishes = slices.Delete(w.wishes, i, i+1)
			w.stirred = true
		}
		slices.SortFunc(names, naturalNames)
		end := w.take(wi.user, names, wi.say)
		w.ends(wi.client, w.gets(wi, names))
		return end
	}
	if i >= 0 {
		w.wishes[i] = wi
		return done
	}
	w.last++
	wi.id = w.last
	w.wishes = append(w.wishes, wi)
	return done
}

// same reports whether the same line was typed, or one for the same nodes and job.
func (wi wish) same(other wish) bool {
	alike := wi.n == other.n && wi.kind() == other.kind() && slices.Equal(wi.nodes, other.nodes)
	return wi.say.job == other.say.job && (wi.line == other.line || wi.say.job != "" && alike)
}

// canBe is failed when a wish never can be met.
func (w *world) canBe(wi wish, named []Name) string {
	_, end := w.wants(wi)
	if w.possible(wi) < wi.n {
		return failed
	}
	if slices.ContainsFunc(named, func(n Name) bool { return w.things[n].image.User == wi.user }) {
		return failed
	}
	return end
}

// cancel ends a wish on the wish of a user.
func (w *world) cancel(user auth.Name, id int, any bool) string {
	i := w.wish(id)
	if i < 0 || w.wishes[i].granted() || !any && w.wishes[i].user != user || !w.here(user) {
		return failed
	}
	w.drop(user, id, "cancelled")
	return done
}

// quit has a client end that waits.
func (w *world) quit(id int, end string) {
	i := slices.IndexFunc(w.wishes, func(wi wish) bool { return wi.client == id })
	if i >= 0 {
		w.commit(func(w *world) string {
			w.drop("", w.wishes[i].id, end)
			return done
		})
	}
}

// idle says who waits for what is available and nobody older wants; "" when nobody does.
func (w *world) idle(here func(id int) bool) string {
	kept := map[Name]bool{}
	for _, wi := range w.wishes {
		wants, end := w.wants(wi)
		if wi.granted() || end != done {
			continue
		}
		var there []Name
		met := true
		for n, d := range w.things {
			switch {
			case !wants(n):
			case d.available() && !kept[n]:
				there = append(there, n)
			case wi.n == 0 && d.image.User != wi.user:
				met = false
			}
		}
		if met && len(there) >= wi.n && here(wi.id) {
			return fmt.Sprintf("%s, of which there are %s", w.line(wi), there)
		}
		for _, n := range there {
			kept[n] = kept[n] || w.now.Before(wi.since.Add(patience)) || met && len(there) >= wi.n
		}
	}
	return ""
}
