package nodes

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

var seed = flag.Uint64("seed", 0, "of the one run of a test at random; 0: several new ones")

// TestModel has random users type random commands into a lab on disk, and
// compares after each of them how it ended, and what is in the store, with what
// the simple model in world_test.go says. Some commands are interrupted by
// another one between what they read and their commit: the outcome must be that
// of one after the other. In some the server crashes just before or after the
// commit, and another one is started on the same directory.
func TestModel(t *testing.T) {
	t.Parallel()
	runs, commands := 4, 600
	if testing.Short() {
		runs, commands = 1, 300
	}
	for _, s := range seeds(runs) {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, s)
			for range commands {
				m.step(t)
			}
			t.Logf("ended so often: %v", m.ends)
		})
	}
}

// seeds returns as many new ones, or the one that the flag tells.
func seeds(n int) (all []uint64) {
	if *seed != 0 {
		return []uint64{*seed}
	}
	for range n {
		all = append(all, rand.Uint64N(1_000_000))
	}
	return all
}

type model struct {
	rand  *rand.Rand
	dir   string
	store *rough
	lab   testLab
	shelf *shelf
	clock atomic.Int64 // milliseconds; every look at it is one
	world *world
	old   *world // a while ago: what users may have been shown
	ends  map[string]int
	asked int // how many commands asked for nodes
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		rand: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), shelf: newShelf(),
		ends:  map[string]int{},
		world: &world{users: map[auth.Name]bool{"alice": true}, things: map[Name]thing{}, images: map[images.Ref]images.Image{}, notices: map[auth.Name]int{}, told: map[string]bool{}},
	}
	m.old = m.world
	m.open(t)
	t.Cleanup(func() { ok(t, m.store.Close()) })
	ok(t, m.lab.users.Ensure(t.Context(), "alice", keyOf("alice")))
	return m
}

// open starts the server.
func (m *model) open(t *testing.T) {
	t.Helper()
	store, err := badger.Open(m.dir, nil)
	ok(t, err)
	m.store = &rough{Store: store}
	m.lab = over(m.store, func() time.Time {
		m.clock.Add(1)
		return m.now()
	}, m.shelf)
}

// now is when the lab last looked at the clock.
func (m *model) now() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(m.clock.Load()) * time.Millisecond)
}

func (m *model) step(t *testing.T) {
	t.Helper()
	if m.rand.IntN(40) == 0 {
		m.world.down = !m.world.down
		m.shelf.fail(nil)
		if m.world.down {
			m.shelf.fail(fault.Failedf("the registry is down"))
		}
	}
	if m.rand.IntN(8) == 0 {
		m.old = m.world.clone()
	}
	c := m.command()
	switch p := m.rand.IntN(100); {
	case p < 3:
		m.crash(t, c)
	case p < 30 && !c.apart:
		between := m.command()
		if m.rand.IntN(2) == 0 { // something that was not there to be read
			between = pick(m, m.registerCommand(), m.createCommand(m.user()), m.pushCommand(m.user()))
		}
		m.interrupt(t, c, between)
	default:
		m.run(t, c)
	}
	checkView(t, m.lab)
}

// run has the lab do one command.
func (m *model) run(t *testing.T, c command) {
	t.Helper()
	before := m.world.clone()
	end := c.run(m.world)
	start := m.now().Add(1)
	result, err := c.ask(t.Context(), m.lab)
	m.ended(t, c.text, err, end)
	m.compare(t, c.text)
	m.told(t, c.text, start, before)
	var moved []Name
	for _, ch := range result.Changes {
		if ch.Changed {
			moved = append(moved, ch.Node)
		}
		if d := m.world.things[ch.Node]; ch.Image != d.image || ch.Previous != owned(before.things[ch.Node]) ||
			ch.Changed && (ch.Reboot.Outcome == RebootOK) != d.virtual {
			t.Fatalf("%s: the result %+v of %+v", c.text, ch, d)
		}
	}
	if end == done && result.Changes != nil && !slices.Equal(moved, changed(before, m.world)) {
		t.Fatalf("%s: changed are %v, the result tells of %v", c.text, changed(before, m.world), result.Changes)
	}
}

// interrupt has the lab do the command b in the middle of a.
func (m *model) interrupt(t *testing.T, a, b command) {
	t.Helper()
	text := a.text + ", interrupted by " + b.text
	ran, before := false, m.world.clone()
	var endB string
	m.store.between = func() {
		ran = true
		endB = b.run(m.world)
		_, err := b.ask(t.Context(), m.lab)
		m.ended(t, text, err, endB)
	}
	_, err := a.ask(t.Context(), m.lab)
	m.store.between = nil
	if !ran { // a changed nothing
		m.world = before
	}
	endA := a.run(m.world)
	if ran && a.picks && !slices.Equal(m.found(t), m.world.lines()) {
		m.world = before
		endA = a.run(m.world)
		if after := b.run(m.world); after != endB {
			t.Fatalf("%s: the latter ended with %q, and after the former it would have with %q", text, endB, after)
		}
	}
	m.ended(t, text, err, endA)
	m.compare(t, text)
}

// crash ends the server at the next commit, and starts it again.
func (m *model) crash(t *testing.T, c command) {
	t.Helper()
	m.store.before = m.rand.IntN(2) == 0
	m.store.after = !m.store.before
	after := m.store.after
	c.text += fmt.Sprintf(", with a crash (after the commit: %v)", after)
	_, err := c.ask(t.Context(), m.lab)
	switch before := m.world.clone(); {
	case !errors.Is(err, errCrash):
		m.ended(t, c.text, err, c.run(m.world))
	case !after:
	case c.first != nil && c.first(m.world) == done && !slices.Equal(before.lines(), m.world.lines()):
	default:
		m.ended(t, c.text, nil, c.run(m.world))
	}
	ok(t, m.store.Close())
	m.open(t)
	m.compare(t, c.text)
	m.restarted(t, c.text)
}

// restarted runs the new server: it starts every virtual node on its image.
func (m *model) restarted(t *testing.T, text string) {
	t.Helper()
	virtual := slices.DeleteFunc(slices.Collect(maps.Keys(m.world.things)), func(n Name) bool {
		d := m.world.things[n]
		return !d.virtual || d.kind != Node
	})
	defer m.shelf.hold()() // no download ends
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := make(chan error)
	go func() { stopped <- m.lab.serve(ctx) }()
	all, err := m.lab.All(ctx)
	ok(t, err)
	set := slices.DeleteFunc(slices.Collect(all.Found()), func(d *Device) bool { return !d.Virtual() })
	if _, err := m.lab.Wait(ctx, set, func([]Missing) {}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	cancel()
	ok(t, <-stopped)
	started := m.lab.grid.take()
	slices.Sort(started)
	slices.Sort(virtual)
	if !slices.Equal(started, virtual) {
		t.Fatalf("%s: at the next start %v were started, want %v", text, started, virtual)
	}
}

// ended compares how a command ended with how it should.
func (m *model) ended(t *testing.T, text string, err error, want string) {
	t.Helper()
	m.ends[strings.Fields(want)[0]]++
	got := done
	if c, is := errors.AsType[*consent.Error](err); is {
		got = contest(c)
	} else if f := fault.As(err); f != nil {
		got = map[fault.Kind]string{fault.Failed: failed, fault.InUse: inUse, fault.Usage: usage}[f.Kind]
	} else if err != nil {
		got = "internal error"
	}
	if got != want {
		t.Fatalf("%s:\nended with %q (%v), want %q", text, got, err, want)
	}
}

// compare checks the invariant, compares the store with the world, and learns
// from it what the world cannot know: times and invented addresses.
func (m *model) compare(t *testing.T, text string) {
	t.Helper()
	if wrong := broken(t, m.store); len(wrong) > 0 {
		t.Fatalf("%s:\nbroken: %s", text, strings.Join(wrong, "\n"))
	}
	if got, want := m.found(t), m.world.lines(); !slices.Equal(got, want) {
		t.Fatalf("%s:\nin the store:\n  %s\nwanted:\n  %s", text, strings.Join(minus(got, want), "\n  "), strings.Join(minus(want, got), "\n  "))
	}
}

// found returns what is in the store, and has the model know what it cannot: the
// addresses of what is new, and since when it is whose.
func (m *model) found(t *testing.T) []string {
	t.Helper()
	is := m.read(t)
	for n, d := range is.things {
		w, here := m.world.things[n]
		if !here {
			continue
		}
		if w.mac == "" {
			w.mac = d.mac
		}
		w.since = d.since
		m.world.things[n] = w
	}
	return is.lines()
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// read returns what is in the store.
func (m *model) read(t *testing.T) *world {
	t.Helper()
	w := &world{map[auth.Name]bool{}, map[Name]thing{}, map[images.Ref]images.Image{}, map[auth.Name]int{}, map[string]bool{}, false, 0}
	accounts, err := m.lab.users.List(t.Context())
	ok(t, err)
	ok(t, m.store.View(t.Context(), func(r state.Reader) error {
		for _, a := range accounts {
			w.users[a.Name] = a.Admin
			for _, err := range r.Keys("notice/"+string(a.Name)+"/", "") { // as journal keeps them
				ok(t, err)
				w.notices[a.Name]++
			}
		}
		all, err := everything(r)
		ok(t, err)
		for _, d := range all {
			asks := ""
			for _, a := range d.Remarks().Asks {
				asks += " " + string(a.By)
			}
			w.things[d.Name] = thing{d.MAC, d.Kind, d.Model, d.Virtual(), d.Image, d.Since, asks}
		}
		imgs, err := images.All(r)
		ok(t, err)
		for _, img := range imgs {
			w.images[img.Ref] = img
		}
		return nil
	}))
	return w
}

// told checks that each change of ownership is in the journal, and that Since
// changed with it, and only with it.
func (m *model) told(t *testing.T, text string, start time.Time, before *world) {
	t.Helper()
	var got, want []string
	ok(t, m.lab.Journal.History(t.Context(), journal.At(start), journal.At(m.now().Add(1)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Ownership {
			for _, n := range e.About() {
				got = append(got, fmt.Sprintf("%s: %s -> %s", n, e.From, e.To))
			}
		}
		return nil
	})))
	was := map[ethernet.MAC]thing{}
	for _, d := range before.things {
		was[d.mac] = d
	}
	for n, d := range m.world.things {
		from, to := owned(was[d.mac]), d.image.User
		if from != to {
			want = append(want, fmt.Sprintf("%s: %s -> %s", n, ownerInLog(from), ownerInLog(to)))
		}
		if old := was[d.mac]; old.kind == Node && (from != to) != d.since.After(old.since) {
			t.Fatalf("%s: %s passed from %s to %s, but since went from %v to %v", text, n, from, to, old.since, d.since)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	want = slices.DeleteFunc(want, func(s string) bool { return strings.HasSuffix(s, ":  -> ") })
	if !slices.Equal(got, want) {
		t.Fatalf("%s: the journal tells %q, want %q", text, got, want)
	}
}

// owned is the owner of a thing; one that is new was free.
func owned(d thing) auth.Name {
	if d.kind != Node {
		return auth.Nobody
	}
	return d.image.User
}

// changed lists the nodes that boot another image than before, or are new, in
// the order of results.
func changed(before, after *world) []Name {
	all, _ := after.expand("", "all-nodes", true)
	return slices.DeleteFunc(all, func(n Name) bool {
		return before.things[n].image == after.things[n].image || before.things[n].kind == Unknown
	})
}
