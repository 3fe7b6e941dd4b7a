package nodes

import (
	"cmp"
	"errors"
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
// and return how it should end. Those who wait, and what time brings, are in
// worldqueue_test.go.
type world struct {
	users   map[auth.Name]bool // whether an administrator
	things  map[Name]thing
	images  map[images.Ref]images.Image
	down    bool // the registries
	now     time.Time
	wishes  []wish // in the order of arrival
	last    int    // the number of the wish that came last
	clients map[int]client
	started time.Time         // the server
	spared  map[int]time.Time // holds of that time that go on for a while, by the node
	made    int               // things so far

	stirred bool      // by the present command: it serves those who wait
	freed   []Name    // by it
	granted int       // how often nodes were granted
	passed  []string  // which nodes changed hands
	trail   *[]*world // what it was after each transaction; nil: nobody wants to know
}

type thing struct {
	id      int          // stays when it gets another name
	mac     ethernet.MAC // "" for a virtual node just made
	kind    Kind
	model   images.Model
	virtual bool
	image   images.Ref
	since   time.Time
	retired auth.Name // by whom, "" when it is not
	said
}

func (d thing) free() bool { return d.kind == Node && d.image.User == auth.Nobody }

func (d thing) available() bool { return d.free() && d.retired == "" }

// How a command ends, besides a contest.
const (
	done   = "done"
	failed = "failed"
	inUse  = "in-use"
	usage  = "usage"
)

func (w *world) clone() *world {
	next := *w
	next.users, next.things, next.images = maps.Clone(w.users), maps.Clone(w.things), maps.Clone(w.images)
	next.wishes, next.clients, next.spared = slices.Clone(w.wishes), maps.Clone(w.clients), maps.Clone(w.spared)
	next.passed = slices.Clone(w.passed)
	return &next
}

// commit is a transaction: f changes the world only when it ends with done. Then who waits
// gets what it freed.
func (w *world) commit(f func(*world) string) string {
	next := w.clone()
	next.stirred, next.freed = false, nil
	end := f(next)
	if end == done {
		next.serve()
		*w = *next
		if w.trail != nil {
			*w.trail = append(*w.trail, w.clone())
		}
	}
	return end
}

// lines are the world in words, to be compared.
func (w *world) lines() []string {
	all := []string{fmt.Sprintf("%d wishes so far", w.last)}
	for n, admin := range w.users {
		all = append(all, fmt.Sprintf("user %s admin=%v", n, admin))
	}
	for n, d := range w.things {
		all = append(all, fmt.Sprintf("device %s %s %s model=%s virtual=%v boots=%s since=%s until=%s job=%s note=%q mates=%s asked=%s retired=%s",
			n, d.mac, d.kind, d.model, d.virtual, d.image, clock(d.since), clock(d.until), d.job, d.note, d.mates, d.askers(), d.retired))
	}
	for r, i := range w.images {
		all = append(all, fmt.Sprintf("image %s %.10s %v %s", r, strings.TrimPrefix(i.Digest, "sha256:"), i.Models, i.Preferred))
	}
	for _, wi := range w.wishes {
		all = append(all, w.line(wi))
	}
	slices.Sort(all)
	return all
}

// clock is a time in words, "-" for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("02T15:04:05.000")
}

// expand returns the names that a set stands for, with done when there are any.
func (w *world) expand(user auth.Name, set string, nodesOnly bool) ([]Name, string) {
	found, end := w.find(user, set, nodesOnly)
	if len(found) == 0 {
		return nil, failed
	}
	return found, end
}

// find is expand of what may be nothing.
func (w *world) find(user auth.Name, set string, nodesOnly bool) ([]Name, string) {
	var found []Name
	for term := range strings.SplitSeq(set, ",") {
		var wanted func(Name, thing) bool
		switch {
		case strings.HasPrefix(term, "job:"):
			wanted = func(_ Name, d thing) bool { return d.image.User == user && d.job == Job(term[len("job:"):]) }
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
	slices.SortFunc(found, naturalNames)
	return found, done
}

// naturalNames orders names that differ only in the number that they end in.
func naturalNames(a, b Name) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }

// facts are those of the names that belong to others than the user.
func (w *world) facts(user auth.Name, names []Name) (all []consent.Claim) {
	for _, n := range names {
		d := w.things[n]
		if owner := d.image.User; d.kind == Node && owner != user && owner != auth.Nobody {
			all = append(all, consent.Claim{Node: string(n), Owner: owner, Since: d.since, Note: d.note})
		}
	}
	return all
}

func agreed(c consent.Agreement, facts []consent.Claim) string {
	if e, is := errors.AsType[*consent.Error](c.Check(facts)); is {
		return contest(e)
	}
	return done
}

func contest(e *consent.Error) string {
	words := []string{fmt.Sprintf("contest changed=%v", len(e.Shown) > 0)}
	for _, n := range e.Nodes {
		words = append(words, string(n.Node), string(n.Owner))
	}
	return strings.Join(words, " ")
}

// boot makes a node boot an image, with what is said of it then; the server acts as "".
func (w *world) boot(actor auth.Name, n Name, ref images.Ref, say remarks) {
	d := w.things[n]
	was := d.image
	if was == ref {
		if !d.free() {
			d.say(say, w.now)
		}
		w.things[n] = d
		return
	}
	if was.User != ref.User {
		w.passed = append(w.passed, fmt.Sprintf("%s: %s -> %s", n, ownerInLog(was.User), ownerInLog(ref.User)))
		d.since, d.said = w.now, said{}
	}
	if d.image = ref; d.free() {
		w.stirred, w.freed = true, append(w.freed, n)
	} else {
		d.say(say, w.now)
	}
	w.things[n] = d
}

// take makes nodes the user's. All clones are there before the first of them changes hands.
func (w *world) take(user auth.Name, names []Name, say remarks) string {
	if say.over(w.now) {
		return failed
	}
	clones := map[images.Model]images.Ref{}
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
		clones[model] = to.Ref
	}
	for _, n := range names {
		w.boot(user, n, clones[w.things[n].model], say)
	}
	return done
}

func (w *world) acquire(user auth.Name, set string, say remarks, c consent.Agreement) string {
	names, end := w.expand(user, set, true)
	if end != done || !w.here(user) {
		return failed
	}
	for _, n := range names {
		if w.things[n].image.User == user {
			return failed
		}
	}
	if end := agreed(c, w.disturbed(user, names)); end != done {
		return end
	}
	return w.take(user, names, say)
}

func (w *world) here(user auth.Name) bool { _, here := w.users[user]; return here }

func (w *world) acquireAny(user auth.Name, n int, model images.Model, say remarks) string {
	wants, end := w.wants(wish{n: n, model: model, user: user})
	if end != done || !w.here(user) {
		return failed
	}
	kept := w.turns(w.wishes, false)
	found := w.pick(n, func(name Name) bool { return !kept[name] && wants(name) })
	if len(found) < n {
		return inUse
	}
	slices.SortFunc(found, naturalNames)
	return w.take(user, found, say)
}

// pick returns n available nodes that are wanted, or fewer: those first that the
// present command freed, then the readiest, then those that were used the longest ago.
func (w *world) pick(n int, wanted func(Name) bool) (found []Name) {
	all, _ := w.find("", "all-nodes", true) // physical ones are off here
	slices.SortStableFunc(all, func(a, b Name) int {
		x, y := w.things[a], w.things[b]
		switch {
		case x.virtual == y.virtual:
			return x.since.Compare(y.since)
		case x.virtual:
			return -1
		}
		return 1
	})
	for _, name := range slices.Concat(w.freed, all) {
		if len(found) < n && w.things[name].available() && wanted(name) && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

func (w *world) release(user auth.Name, set string) string {
	names, end := w.expand(user, set, true)
	if ofOneself := set == "my-nodes" || strings.HasPrefix(set, "job:"); !w.here(user) || end != done && !ofOneself {
		return failed
	}
	if !w.owns(user, names) {
		return failed
	}
	w.free(user, names)
	return done
}

func (w *world) owns(user auth.Name, names []Name) bool {
	return !slices.ContainsFunc(names, func(n Name) bool { return w.things[n].image.User != user })
}

func (w *world) free(actor auth.Name, names []Name) {
	for _, n := range names {
		w.boot(actor, n, images.DefaultRef(w.things[n].model), remarks{})
	}
}

func (w *world) setImage(user auth.Name, set, name string, say remarks, c consent.Agreement) string {
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
	facts := w.disturbed(user, names)
	if name == "default" {
		facts = w.facts(user, names)
	}
	if end := agreed(c, facts); end != done {
		return end
	}
	if name == "default" {
		w.free(user, names)
		return done
	}
	if say.over(w.now) {
		return failed
	}
	for _, n := range names {
		w.boot(user, n, chosen, say)
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
			facts = append(facts, consent.Claim{Node: string(n), Owner: to.User, Since: w.things[n].since, Note: w.things[n].note})
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
		w.made++
		d = thing{id: w.made, mac: a.MAC, virtual: a.Host == Simulated}
	}
	d.kind, d.model = Unknown, a.Model
	if def, here := w.images[images.DefaultRef(a.Model)]; here {
		d.kind, d.image, d.since = Node, def.Ref, w.now
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
	for _, n := range slices.SortedFunc(maps.Keys(w.things), naturalNames) {
		if d := w.things[n]; d.kind == Unknown && d.model == model {
			d.kind, d.image, d.since = Node, def.Ref, w.now
			w.things[n] = d
			w.stirred, w.freed = true, append(w.freed, n)
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

func (w *world) create(user auth.Name, n Name, model images.Model, say remarks) string {
	if _, taken := w.things[n]; taken || !w.here(user) {
		return failed
	}
	w.made++
	w.things[n] = thing{id: w.made, kind: Node, model: model, virtual: true, image: images.DefaultRef(model)}
	return w.take(user, []Name{n}, say)
}

func (w *world) forget(user auth.Name, set string, c consent.Agreement, virtual bool) string {
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
	for i, wi := range w.wishes {
		terms := strings.Split(wi.set, ",")
		for j := range terms {
			if terms[j] == string(old) {
				terms[j] = string(name)
			}
		}
		w.wishes[i].set = strings.Join(terms, ",")
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
	for _, wi := range slices.Clone(w.wishes) {
		if wi.user == name {
			w.drop(actor, wi.id, "cancelled")
		}
	}
	owned, _ := w.find(name, "my-nodes", true)
	became := map[images.Ref]images.Ref{}
	for _, from := range mine {
		img := w.images[from]
		delete(w.images, from)
		if legacy.Heir == "" {
			continue
		}
		to := images.Ref{User: legacy.Heir, Name: from.Name, Tag: from.Tag}
		for i := 2; w.images[to].Digest != ""; i++ {
			to.Name = fmt.Sprintf("%s-%d", from.Name, i)
		}
		img.Ref = to
		w.images[to], became[from] = img, to
	}
	for _, n := range owned {
		to := images.DefaultRef(w.things[n].model)
		if legacy.Heir != "" {
			to = became[w.things[n].image]
		}
		w.boot(actor, n, to, remarks{})
	}
	for n, d := range w.things {
		d.asks = lessWords(d.asks, func(a string) bool { return strings.HasPrefix(a, string(name)+"@") })
		d.mates = lessWords(d.mates, func(m string) bool { return m == string(name) })
		w.things[n] = d
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
