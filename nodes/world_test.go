package nodes

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
)

// world is what a lab should be, in plain maps: the rules of ownership once
// more, as simple as they can be told. Its methods do what a command should do
// and return how it should end.
type world struct {
	users   map[auth.Name]bool // whether an administrator
	things  map[Name]thing
	images  map[images.Ref]images.Image
	notices map[auth.Name]int
	told    map[string]bool // owners whom the present command tells something, with what it is about
	down    bool            // the registries
	moves   int             // how often a node changed hands
}

type thing struct {
	mac     ethernet.MAC // "" for a virtual node just made
	kind    Kind
	model   images.Model
	virtual bool
	image   images.Ref
	since   time.Time // as read from the store, in the year 9000 for what was not read yet
	asks    string    // who would like it, each behind a blank, with the number of the command behind @
}

// askers are those names alone.
func (d thing) askers() (names []string) {
	for ask := range strings.FieldsSeq(d.asks) {
		name, _, _ := strings.Cut(ask, "@")
		names = append(names, name)
	}
	return names
}

// How a command ends, besides a contest.
const (
	done   = "done"
	failed = "failed"
	inUse  = "in-use"
	usage  = "usage"
)

func (w *world) clone() *world {
	return &world{maps.Clone(w.users), maps.Clone(w.things), maps.Clone(w.images), maps.Clone(w.notices), map[string]bool{}, w.down, w.moves}
}

// try has f change the world only when it ends with done.
func (w *world) try(f func(*world) string) string {
	next := w.clone()
	end := f(next)
	if end == done {
		*w = *next
	}
	return end
}

// lines are the world in words, to be compared.
func (w *world) lines() []string {
	var all []string
	for n, admin := range w.users {
		all = append(all, fmt.Sprintf("user %s admin=%v notices=%d", n, admin, w.notices[n]))
	}
	for n, d := range w.things {
		all = append(all, fmt.Sprintf("device %s %s %s model=%s virtual=%v boots=%s asked=%s", n, d.mac, d.kind, d.model, d.virtual, d.image, d.askers()))
	}
	for r, i := range w.images {
		all = append(all, fmt.Sprintf("image %s %.10s %v %s", r, strings.TrimPrefix(i.Digest, "sha256:"), i.Models, i.Preferred))
	}
	slices.Sort(all)
	return all
}

// expand returns the names that a set stands for, with done when there are any.
func (w *world) expand(user auth.Name, set string, nodesOnly bool) ([]Name, string) {
	var found []Name
	for term := range strings.SplitSeq(set, ",") {
		var wanted func(Name, thing) bool
		switch {
		case term == "my-nodes":
			wanted = func(_ Name, d thing) bool { return d.kind == Node && d.image.User == user }
		case term == "free-nodes":
			wanted = func(_ Name, d thing) bool { return d.kind == Node && d.image.User == auth.Nobody }
		case term == "all-nodes":
			wanted = func(_ Name, d thing) bool { return d.kind == Node }
		case strings.ContainsAny(term, "*?["):
			wanted = func(n Name, d thing) bool {
				ok, _ := path.Match(term, string(n))
				return ok && (d.kind == Node || !nodesOnly)
			}
			if !slices.ContainsFunc(slices.Collect(maps.Keys(w.things)), func(n Name) bool { return wanted(n, w.things[n]) }) {
				return nil, failed
			}
		default:
			if d, here := w.things[Name(term)]; !here || nodesOnly && d.kind != Node {
				return nil, failed
			}
			wanted = func(n Name, _ thing) bool { return string(n) == term }
		}
		for n, d := range w.things {
			if wanted(n, d) && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	if len(found) == 0 {
		return nil, failed
	}
	// The names differ only in the number that they end in.
	slices.SortFunc(found, func(a, b Name) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
	return found, done
}

// facts are those of the names that belong to others than the user.
func (w *world) facts(user auth.Name, names []Name) (all []consent.Claim) {
	for _, n := range names {
		d := w.things[n]
		if owner := d.image.User; d.kind == Node && owner != user && owner != auth.Nobody {
			all = append(all, consent.Claim{Node: string(n), Owner: owner, Since: d.since})
		}
	}
	return all
}

func agreed(c consent.Agreement, facts []consent.Claim) string {
	if len(facts) == 0 || c.Whoever || slices.Equal(c.Shown, facts) {
		return done
	}
	return contest(&consent.Error{Nodes: facts, Shown: c.Shown})
}

func contest(e *consent.Error) string {
	words := []string{fmt.Sprintf("contest changed=%v", len(e.Shown) > 0)}
	for _, n := range e.Nodes {
		words = append(words, string(n.Node), string(n.Owner))
	}
	return strings.Join(words, " ")
}

// tell leaves a notice for an owner, one for all nodes of a command.
func (w *world) tell(owner auth.Name, about string) {
	if key := string(owner) + " " + about; !w.told[key] {
		w.told[key] = true
		w.notices[owner]++
	}
}

func (w *world) boot(actor auth.Name, n Name, ref images.Ref) {
	d := w.things[n]
	if lost := d.image.User; lost != ref.User && lost != auth.Nobody && lost != actor {
		w.tell(lost, "")
	}
	if d.image.User != ref.User { // later than any, until it is read
		w.moves++
		d.asks = ""
		d.since = time.Date(9000, 1, 1, 0, 0, w.moves, 0, time.UTC)
	}
	d.image = ref
	w.things[n] = d
}

func (w *world) take(user auth.Name, names []Name) string {
	for _, n := range names {
		model := w.things[n].model
		def := w.images[images.DefaultRef(model)]
		to := def
		to.Ref = images.Ref{User: user, Name: cmp.Or(def.Preferred, string(def.Models[0])+"-default"), Tag: "latest"}
		have, here := w.images[to.Ref]
		if here && !slices.Contains(have.Models, model) {
			return failed
		}
		if !here {
			w.images[to.Ref] = to
		}
		w.boot(user, n, to.Ref)
	}
	return done
}

func (w *world) acquire(user auth.Name, set string, c consent.Agreement) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	for _, n := range names {
		if w.things[n].image.User == user {
			return failed
		}
	}
	if end := agreed(c, w.facts(user, names)); end != done {
		return end
	}
	return w.take(user, names)
}

func (w *world) here(user auth.Name) bool { _, here := w.users[user]; return here }

func (w *world) acquireAny(user auth.Name, n int, model images.Model) string {
	all, _ := w.expand(user, "all-nodes", true)
	known := slices.ContainsFunc(all, func(n Name) bool { return w.things[n].model == model })
	if model != "" && !known || !w.here(user) {
		return failed
	}
	free := slices.DeleteFunc(all, func(n Name) bool {
		d := w.things[n]
		return d.image.User != auth.Nobody || model != "" && d.model != model
	})
	if len(free) < n {
		return inUse
	}
	slices.SortStableFunc(free, func(a, b Name) int { // physical ones are off here
		x, y := w.things[a], w.things[b]
		switch {
		case x.virtual == y.virtual && x.since.IsZero() != y.since.IsZero(): // it came a moment ago
			return y.since.Compare(x.since)
		case x.virtual == y.virtual:
			return x.since.Compare(y.since)
		case x.virtual:
			return -1
		}
		return 1
	})
	return w.take(user, free[:n])
}

func (w *world) release(user auth.Name, set string) string {
	names, end := w.expand(user, set, true)
	if !w.here(user) || end != done && set != "my-nodes" {
		return failed
	}
	for _, n := range names {
		if w.things[n].image.User != user {
			return failed
		}
		w.boot(user, n, images.DefaultRef(w.things[n].model))
	}
	return done
}

func (w *world) setImage(user auth.Name, set, name string, c consent.Agreement) string {
	if name == "Bad_Name" {
		return usage
	}
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	chosen := images.Ref{User: user, Name: name, Tag: "latest"}
	img, here := w.images[chosen]
	for _, n := range names {
		if name != "default" && (!here || !slices.Contains(img.Models, w.things[n].model)) {
			return failed
		}
	}
	if end := agreed(c, w.facts(user, names)); end != done {
		return end
	}
	for _, n := range names {
		to := chosen
		if name == "default" {
			to = images.DefaultRef(w.things[n].model)
		}
		w.boot(user, n, to)
	}
	return done
}

func (w *world) cloneImage(from, to images.Ref, force bool, c consent.Agreement) string {
	img, here := w.images[from]
	if !here || !w.here(to.User) {
		return failed
	}
	img.Ref = to
	if old, here := w.images[to]; here {
		if !force {
			return failed
		}
		using := w.using(to)
		var facts []consent.Claim
		for _, n := range using {
			if !slices.Contains(img.Models, w.things[n].model) {
				return failed
			}
			facts = append(facts, consent.Claim{Node: string(n), Owner: to.User, Since: w.things[n].since})
		}
		if old.Digest != img.Digest {
			if end := agreed(c, facts); end != done {
				return end
			}
		}
	}
	w.images[to] = img
	return done
}

// using lists the nodes that boot an image.
func (w *world) using(ref images.Ref) []Name {
	all, _ := w.expand("", "all-nodes", true)
	return slices.DeleteFunc(all, func(n Name) bool { return w.things[n].image != ref })
}

func (w *world) register(a Announcement) string {
	for n, d := range w.things {
		if d.mac == a.MAC && n != a.Name {
			return failed
		}
	}
	d, here := w.things[a.Name]
	if here && d.mac == a.MAC && d.virtual == (a.Host == Simulated) && (a.Model == "" || a.Model == d.model) {
		return done // it is known as that
	}
	if here && (d.mac != a.MAC || d.kind != Unknown || d.model != "" || a.Model == "") {
		return failed
	}
	if !here {
		d = thing{mac: a.MAC, virtual: a.Host == Simulated}
	}
	d.kind, d.model = Unknown, a.Model
	if def, here := w.images[images.DefaultRef(a.Model)]; here {
		d.kind, d.image = Node, def.Ref
	}
	w.things[a.Name] = d
	return done
}

// fetch downloads the default image of a model unless it is here.
func (w *world) fetch(model images.Model) string {
	if _, here := w.images[images.DefaultRef(model)]; here {
		return done
	}
	if w.down || !slices.Contains([]images.Model{"m1", "m2", "m3"}, model) {
		return failed
	}
	def := defaultOf(model)
	w.images[def.Ref] = def
	for n, d := range w.things {
		if d.kind == Unknown && d.model == model {
			d.kind, d.image = Node, def.Ref
			w.things[n] = d
		}
	}
	return done
}

// download is what the server does for the devices that wait for an image.
func (w *world) download(model images.Model) string {
	for _, d := range w.things {
		if d.kind == Unknown && d.model == model {
			return w.fetch(model)
		}
	}
	return done
}

func (w *world) create(user auth.Name, n Name, model images.Model) string {
	if _, taken := w.things[n]; taken || !w.here(user) {
		return failed
	}
	w.things[n] = thing{kind: Node, model: model, virtual: true, image: images.DefaultRef(model)}
	return w.take(user, []Name{n})
}

func (w *world) drop(user auth.Name, set string, c consent.Agreement, virtual bool) string {
	names, end := w.expand(user, set, false)
	if end != done {
		return end
	}
	for _, n := range names {
		if w.things[n].virtual != virtual {
			return failed
		}
	}
	facts := w.facts(user, names)
	if end := agreed(c, facts); end != done {
		return end
	}
	for _, n := range names {
		delete(w.things, n)
	}
	for _, f := range facts {
		w.tell(f.Owner, f.Of)
	}
	return done
}

func (w *world) rename(user auth.Name, old, name Name, c consent.Agreement) string {
	d, here := w.things[old]
	if _, taken := w.things[name]; !here || taken {
		return failed
	}
	facts := w.facts(user, []Name{old})
	if end := agreed(c, facts); end != done {
		return end
	}
	delete(w.things, old)
	w.things[name] = d
	for _, f := range facts {
		w.tell(f.Owner, f.Of)
	}
	return done
}

func (w *world) addUser(actor, name auth.Name, admin bool) string {
	if !w.users[actor] || w.here(name) {
		return failed
	}
	w.users[name] = admin
	return done
}

func (w *world) removeUser(actor, name auth.Name, legacy Legacy) string {
	if !w.users[actor] || !w.here(name) {
		return failed
	}
	last := w.users[name]
	for n, admin := range w.users {
		if admin && n != name {
			last = false
		}
	}
	delete(w.users, name)
	delete(w.notices, name)
	var mine []images.Ref
	for r := range w.images {
		if r.User == name {
			mine = append(mine, r)
		}
	}
	slices.SortFunc(mine, func(a, b images.Ref) int { return cmp.Compare(a.String(), b.String()) })
	if last || legacy.Heir != "" && !w.here(legacy.Heir) || len(mine) > 0 && !legacy.Force && legacy.Heir == "" {
		return failed
	}
	for _, from := range mine {
		img := w.images[from]
		if legacy.Heir != "" {
			to := images.Ref{User: legacy.Heir, Name: from.Name, Tag: from.Tag}
			for i := 2; w.images[to].Digest != ""; i++ {
				to.Name = fmt.Sprintf("%s-%d", from.Name, i)
			}
			img.Ref = to
			w.images[to] = img
		}
		for _, n := range w.using(from) {
			d := w.things[n]
			d.asks = ""
			if d.image = img.Ref; legacy.Heir == "" {
				d.image = images.DefaultRef(d.model)
			}
			w.things[n] = d
		}
		delete(w.images, from)
	}
	for n, d := range w.things {
		asks := strings.Fields(d.asks)
		d.asks = strings.Join(slices.DeleteFunc(asks, func(a string) bool { return strings.HasPrefix(a, string(name)+"@") }), " ")
		w.things[n] = d
	}
	return done
}

// ask has a user ask for nodes; number is that of the command.
func (w *world) ask(user auth.Name, set string, number int) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	times := map[auth.Name]map[string]bool{} // when the user asked each owner
	for _, d := range w.things {
		for ask := range strings.FieldsSeq(d.asks) {
			if name, at, _ := strings.Cut(ask, "@"); name == string(user) {
				if times[d.image.User] == nil {
					times[d.image.User] = map[string]bool{}
				}
				times[d.image.User][at] = true
			}
		}
	}
	for _, n := range names {
		if owner := w.things[n].image.User; owner == user || owner == auth.Nobody {
			return failed
		}
	}
	for _, n := range names {
		d := w.things[n]
		if slices.Contains(d.askers(), string(user)) {
			continue
		}
		if len(times[d.image.User]) >= asksAnHour {
			return inUse
		}
		d.asks += fmt.Sprintf(" %s@%d", user, number)
		w.things[n] = d
		w.tell(d.image.User, "asked")
	}
	return done
}

// give has a user hand nodes over.
func (w *world) give(user auth.Name, set string, to auth.Name) string {
	if user == to {
		return usage
	}
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) || !w.here(to) {
		return failed
	}
	asked := true
	for _, n := range names {
		if w.things[n].image.User != user {
			return failed
		}
		asked = asked && slices.Contains(w.things[n].askers(), string(to))
	}
	if !asked {
		return inUse
	}
	for _, n := range names {
		from := w.things[n].image
		img := w.images[from]
		img.Ref.User = to
		for i := 2; w.images[img.Ref].Digest != "" && w.images[img.Ref].Digest != img.Digest; i++ {
			img.Ref.Name = fmt.Sprintf("%s-%d", from.Name, i)
		}
		if _, here := w.images[img.Ref]; !here {
			w.images[img.Ref] = img
		}
		w.boot(user, n, img.Ref)
		w.tell(to, "given")
	}
	return done
}

// removeImage deletes an image, or gives it another name.
func (w *world) removeImage(ref, instead images.Ref) string {
	img, here := w.images[ref]
	_, taken := w.images[instead]
	if !here || taken || !w.here(ref.User) || len(w.using(ref)) > 0 {
		return failed
	}
	delete(w.images, ref)
	if !instead.IsZero() {
		img.Ref = instead
		w.images[instead] = img
	}
	return done
}

func (w *world) push(img images.Image) string {
	if _, here := w.images[img.Ref]; here || !w.here(img.Ref.User) {
		return failed
	}
	w.images[img.Ref] = img
	return done
}
