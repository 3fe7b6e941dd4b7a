package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// command is a request: what it should do, and how a lab is asked for it.
type command struct {
	text string
	do   func(*world) string // one transaction
	ask  func(context.Context, testLab) (Result, error)
	// apart says that it looks at the lab more than once before it decides.
	apart  bool
	client int // that begins to wait by it, 0 for none
	// alone says that nothing is done in the middle of it, nor is it in the middle of others.
	alone bool
	// picks says that it decides by what it takes: what is done in the middle of it,
	// to others, may as well be done after it.
	picks bool
	// first is what must succeed before, in a transaction of its own, and stays
	// done whatever follows; nil for nothing.
	first func(*world) string
}

// run does the command to a world.
func (c command) run(w *world) string {
	if c.first != nil {
		if end := w.commit(c.first); end != done {
			return end
		}
	}
	return w.commit(c.do)
}

// who is who does it.
func (c command) who() string {
	who, _, _ := strings.Cut(c.text, ":")
	return who
}

// command makes a random command, which often finds what it needs.
func (m *model) command() command {
	user := m.user()
	weighed := []struct {
		weight int
		make   func() command
	}{
		{4, func() command { return m.acquireCommand(user) }},
		{3, func() command { return m.anyCommand(user) }},
		{6, func() command { return m.releaseCommand(user) }},
		{4, func() command { return m.bootCommand(user) }},
		{1, func() command { return m.cloneCommand(user) }},
		{2, m.registerCommand},
		{1, func() command { return m.createCommand(user) }},
		{1, func() command { return m.dropCommand(user) }},
		{1, func() command { return m.renameCommand(user) }},
		{1, func() command { return m.pushCommand(user) }},
		{1, m.downloadCommand},
		{1, func() command { return m.removeImageCommand(user) }},
		{2, func() command { return m.askCommand(user) }},
		{2, func() command { return m.giveCommand(user) }},
		{1, func() command { return m.userCommand(user) }},
		{9, func() command { return m.waitCommand(user) }},
		{3, m.clientCommand},
		{1, func() command { return m.cancelCommand(user) }},
		{2, func() command { return m.extendCommand(user) }},
		{2, func() command { return m.sayCommand(user) }},
		{2, func() command { return m.retireCommand(user) }},
		{2, func() command { return m.returnCommand(user) }},
	}
	all := 0
	for _, w := range weighed {
		all += w.weight
	}
	at := m.rand.IntN(all)
	for _, w := range weighed {
		if at -= w.weight; at < 0 {
			return w.make()
		}
	}
	panic("unreachable")
}

func (m *model) acquireCommand(user auth.Name) command {
	set := m.set(func(d thing) bool { return d.kind == Node && d.image.User != user })
	given, say := m.consent(user, set, (*world).disturbed), m.remarks()
	return command{
		text: fmt.Sprintf("%s: acquire %s%s %v", user, set, say, given),
		do:   func(w *world) string { return w.acquire(user, set, say, given) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return l.Acquire(ctx, user, parse(set), say.of(), given)
		},
	}
}

func (m *model) anyCommand(user auth.Name) command {
	n, model, say := 1+m.rand.IntN(3), pick(m, images.Model(""), "", "", "m1", "m1", "m2", "m4"), m.remarks()
	return command{
		text: fmt.Sprintf("%s: acquire any %d of %q%s", user, n, model, say),
		do:   func(w *world) string { return w.acquireAny(user, n, model, say) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return l.AcquireAny(ctx, user, Some{N: n, Model: model}, say.of())
		},
		picks: true,
	}
}

func (m *model) releaseCommand(user auth.Name) command {
	if m.rand.IntN(3) > 0 { // who has nodes
		user = m.owner(user)
	}
	set := m.ownSet(user)
	return command{
		text: fmt.Sprintf("%s: release %s", user, set),
		do:   func(w *world) string { return w.release(user, set) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return l.Release(ctx, user.Actor(), parse(set))
		},
	}
}

func (m *model) askCommand(user auth.Name) command {
	set := m.set(func(d thing) bool { return d.kind == Node && d.image.User != user && d.image.User != auth.Nobody })
	return command{
		text: fmt.Sprintf("%s: ask for %s", user, set),
		do:   func(w *world) string { return w.ask(user, set) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.Ask(ctx, user, parse(set), "")
			return Result{}, err
		},
	}
}

// giveCommand hands nodes over, mostly to somebody who asked for one.
func (m *model) giveCommand(user auth.Name) command {
	to, stay := m.user(), m.rand.IntN(2) == 0
	set := m.set(func(d thing) bool { return d.image.User == user })
	for _, n := range m.names() {
		if d := m.world.things[n]; d.asks != "" && m.rand.IntN(3) > 0 {
			user, set, to = d.image.User, string(n), auth.Name(pick(m, d.askers()...))
		}
	}
	return command{
		text: fmt.Sprintf("%s: give %s to %s, stay: %v", user, set, to, stay),
		do:   func(w *world) string { return w.give(user, set, to) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			r, err := l.Give(ctx, user, parse(set), to, stay)
			if _, is := errors.AsType[*NotAsked](err); is {
				err = fault.New(fault.InUse, "%v", err)
			}
			if stay { // nothing was restarted
				return Result{}, err
			}
			return r, err
		},
	}
}

func (m *model) bootCommand(user auth.Name) command {
	name := pick(m, "x", "y", "pair", "m1-default", "default", "Bad_Name")
	for _, ref := range m.refs() {
		if ref.User == user && m.rand.IntN(2) == 0 {
			name = ref.Name
		}
	}
	img := m.world.images[images.Ref{User: user, Name: name, Tag: "latest"}]
	set := m.set(func(d thing) bool { return d.kind == Node && (name == "default" || img.Boots(d.model)) })
	facts := (*world).disturbed
	if name == "default" {
		facts = (*world).facts
	}
	given, say := m.consent(user, set, facts), m.remarks()
	return command{
		text: fmt.Sprintf("%s: boot %s %s%s %v", user, set, name, say, given),
		do:   func(w *world) string { return w.setImage(user, set, name, say, given) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return l.SetImage(ctx, user.Actor(), parse(set), name, say.of(), given)
		},
	}
}

func (m *model) cloneCommand(user auth.Name) command {
	from, to, force := m.image(m.user()), m.image(user), m.rand.IntN(3) > 0
	if refs := m.refs(); len(refs) > 0 && m.rand.IntN(4) > 0 {
		from = pick(m, refs...)
	}
	var facts []consent.Claim
	for _, n := range pick(m, m.world, m.world, m.old).using(to) {
		facts = append(facts, consent.Claim{Node: string(n), Owner: user, Since: m.world.things[n].since, Note: m.world.things[n].note})
	}
	given := pick(m, consent.Agreement{}, consent.Agreement{Whoever: true}, consent.Agreement{Shown: facts})
	return command{
		text: fmt.Sprintf("%s: clone %s %s, force: %v, %v", user, from, to, force, given),
		do:   func(w *world) string { return w.cloneImage(from, to, force, given) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, _, err := l.clone(ctx, from, to, force, given)
			return Result{}, err
		},
	}
}

func (m *model) registerCommand() command {
	a := Announcement{
		Name: m.name(), MAC: macOf(fmt.Sprint(m.rand.IntN(12))), Host: pick(m, Physical, Simulated),
		Model: pick(m, images.Model(""), "m1", "m1", "m1", "m1", "m2", "m2", "m3", "m4"),
	}
	for _, n := range m.names() { // sometimes one that is there announces its model
		if d := m.world.things[n]; d.kind == Unknown && d.model == "" && m.rand.IntN(2) == 0 {
			a.Name, a.MAC = n, d.mac
		}
	}
	return m.announceCommand(a)
}

func (m *model) announceCommand(a Announcement) command {
	return command{
		text: fmt.Sprintf("server: register %v", a),
		do:   func(w *world) string { return w.register(a) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.Register(ctx, "server", a)
			return Result{}, err
		},
	}
}

func (m *model) createCommand(user auth.Name) command {
	name, model, say := m.name(), pick(m, images.Model("m1"), "m2", "m3", "m4"), m.remarks()
	return command{
		text:  fmt.Sprintf("%s: create %s of %s%s", user, name, model, say),
		first: func(w *world) string { return w.fetch(model) },
		do:    func(w *world) string { return w.create(user, name, model, say) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			return l.Create(ctx, user, Virtual{Name: name, Model: model, Remarks: say.of()}, nil)
		},
	}
}

func (m *model) dropCommand(user auth.Name) command {
	virtual := m.rand.IntN(2) == 0
	set := m.set(func(d thing) bool { return d.virtual == virtual })
	given := m.consent(user, set, (*world).facts)
	return command{
		text: fmt.Sprintf("%s: drop %s %v, virtual: %v", user, set, given, virtual),
		do:   func(w *world) string { return w.forget(user, set, given, virtual) },
		ask: func(ctx context.Context, l testLab) (_ Result, err error) {
			if virtual {
				_, err = l.Remove(ctx, user, parse(set), given)
			} else {
				_, err = l.Forget(ctx, user, parse(set), given)
			}
			return Result{}, err
		},
	}
}

func (m *model) renameCommand(user auth.Name) command {
	old, name := m.name(), m.name()
	if all := m.names(); len(all) > 0 {
		old = pick(m, all...)
	}
	given := m.consent(user, string(old), (*world).facts)
	return command{
		text: fmt.Sprintf("%s: rename %s %s %v", user, old, name, given),
		do:   func(w *world) string { return w.rename(user, old, name, given) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.Rename(ctx, user, old, name, given)
			return Result{}, err
		},
	}
}

// pushCommand writes the record of an image, as whatever brings images does.
func (m *model) pushCommand(user auth.Name) command {
	models := pick(m, []images.Model{"m1"}, []images.Model{"m2"}, []images.Model{"m3"}, []images.Model{"m1", "m2"}, []images.Model{"m2", "m3"}, []images.Model{"m1", "m2", "m3"})
	img := images.Image{Ref: m.image(user), Models: models, Digest: sum(fmt.Sprint(models, m.rand.IntN(2)))}
	return command{
		text: fmt.Sprintf("%s: push %s for %s", user, img.Ref, models),
		do:   func(w *world) string { return w.push(img) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.Store.Update(ctx, func(tx state.Tx) error {
				_, err := images.Get(tx, img.Ref)
				if here, _ := auth.Exists(tx, user); !here || err == nil {
					return errNoImage
				}
				return images.Put(tx, img)
			})
			return Result{}, err
		},
	}
}

func (m *model) removeImageCommand(user auth.Name) command {
	ref, instead := m.image(user), pick(m, images.Ref{}, m.image(user))
	return command{
		text: fmt.Sprintf("%s: remove or rename image %s %s", user, ref, instead),
		do:   func(w *world) string { return w.removeImage(ref, instead) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			if instead.IsZero() {
				return Result{}, l.Images.Remove(ctx, user, ref.Name, images.Terms{})
			}
			return Result{}, l.Images.Rename(ctx, user, ref.Name, instead.Name, images.Terms{})
		},
	}
}

func (m *model) downloadCommand() command {
	return m.downloadOf(pick(m, images.Model("m1"), "m2", "m3", "m4"))
}

func (m *model) downloadOf(model images.Model) command {
	return command{
		text:  "server: download " + string(model),
		apart: true,
		do:    func(w *world) string { return w.download(model) },
		ask:   func(ctx context.Context, l testLab) (Result, error) { return Result{}, l.Images.Download(ctx, model) },
	}
}

func (m *model) userCommand(actor auth.Name) command {
	name, admin := m.user(), m.rand.IntN(3) == 0
	if m.rand.IntN(3) > 0 {
		return m.addUserCommand(actor, pick(m, auth.Name("alice"), "bob", "carol", "dave"), admin)
	}
	legacy := pick(m, Legacy{}, Legacy{Force: true}, Legacy{Heir: m.user()}, Legacy{Heir: m.user()})
	return command{
		text: fmt.Sprintf("%s: user remove %s %v", actor, name, legacy),
		do:   func(w *world) string { return w.removeUser(actor, name, legacy) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.RemoveUser(ctx, actor, name, legacy)
			return Result{}, err
		},
	}
}

func (m *model) addUserCommand(actor, name auth.Name, admin bool) command {
	return command{
		text: fmt.Sprintf("%s: user add %s, admin: %v", actor, name, admin),
		do:   func(w *world) string { return w.addUser(actor, name, admin) },
		ask: func(ctx context.Context, l testLab) (Result, error) {
			_, err := l.users.Add(ctx, actor, name, admin, keyOf(name))
			return Result{}, err
		},
	}
}

func pick[T any](m *model, from ...T) T { return from[m.rand.IntN(len(from))] }

// user is somebody, most often a user of the lab.
func (m *model) user() auth.Name {
	if m.rand.IntN(8) == 0 {
		return pick(m, auth.Name("alice"), "bob", "carol", "dave")
	}
	return pick(m, slices.Sorted(maps.Keys(m.world.users))...)
}

func (m *model) name() Name { return Name(fmt.Sprintf("n%d", 1+m.rand.IntN(12))) }

func (m *model) names() []Name { return slices.Sorted(maps.Keys(m.world.things)) }

func (m *model) image(user auth.Name) images.Ref {
	return images.Ref{User: user, Name: pick(m, "x", "y", "pair", "m1-default"), Tag: "latest"}
}

func (m *model) refs() []images.Ref {
	return slices.SortedFunc(maps.Keys(m.world.images), func(a, b images.Ref) int { return strings.Compare(a.Full(), b.Full()) })
}

// set is a random expression, most often of the names of wanted things.
func (m *model) set(wanted func(thing) bool) string {
	if m.rand.IntN(4) == 0 {
		return pick(m, "my-nodes", "free-nodes", "all-nodes", "n*", "n1*", "n[2-4]", "n?", "zz*", "n1?,n2", "job:j1")
	}
	good := slices.DeleteFunc(m.names(), func(n Name) bool { return !wanted(m.world.things[n]) })
	var terms []string
	for range 1 + m.rand.IntN(3) {
		term := m.name()
		if len(good) > 0 && m.rand.IntN(30) > 0 {
			term = pick(m, good...)
		}
		terms = append(terms, string(term))
	}
	return strings.Join(terms, ",")
}

// consent is none, to whoever is there, or to what the user was shown, now or a
// while ago.
func (m *model) consent(user auth.Name, set string, facts func(*world, auth.Name, []Name) []consent.Claim) consent.Agreement {
	shown := pick(m, m.world, m.world, m.old)
	names, _ := shown.expand(user, set, false)
	given := consent.Agreement{Shown: facts(shown, user, names)}
	return pick(m, consent.Agreement{}, consent.Agreement{Whoever: true}, given, given)
}
