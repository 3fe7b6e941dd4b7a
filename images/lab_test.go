package images_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// lab is a catalog whose surroundings the test plays: the locations of images,
// and the nodes that boot them. alice is an administrator.
type lab struct {
	*images.Catalog
	users *auth.Users
	shelf *shelf
	fleet *fleet
}

// newLab is a lab in memory with some users besides alice, and the default image
// of the model m1.
func newLab(t testing.TB, users ...auth.Name) lab {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	log := journal.New(store, time.Now)
	l := lab{users: auth.New(store, log, time.Now), shelf: newShelf(), fleet: &fleet{store: store, nodes: map[string]images.Ref{}, borrowers: map[images.Ref][]consent.Claim{}}}
	l.Catalog = images.NewCatalog(images.Config{
		Store: store, Journal: log, Content: l.shelf, Nodes: l.fleet,
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Retry: time.Second,
	})
	ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
	for _, u := range users {
		_, err := l.users.Add(t.Context(), "alice", u, false, keyOf(u))
		ok(t, err)
	}
	l.image(t, defaultOf("m1"))
	return l
}

// image writes the record of an image.
func (l lab) image(t testing.TB, img images.Image) {
	t.Helper()
	l.update(t, func(tx state.Tx) error { return images.Put(tx, img) })
}

func (l lab) update(t testing.TB, f func(state.Tx) error) {
	t.Helper()
	_, err := l.Store.Update(t.Context(), f)
	ok(t, err)
}

// want has a device wait for the default image of a model.
func (l lab) want(t testing.TB, model images.Model) {
	t.Helper()
	l.fleet.mu.Lock()
	l.fleet.waiting = append(l.fleet.waiting, model)
	l.fleet.mu.Unlock()
	l.update(t, func(tx state.Tx) error { return l.Want(tx, model) })
}

// names are the images of a user.
func (l lab) names(t testing.TB, user auth.Name) (all []string) {
	t.Helper()
	mine, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]images.Image, error) { return images.Of(r, user) })
	ok(t, err)
	for _, img := range mine {
		all = append(all, img.Ref.Short())
	}
	return all
}

// events are those of a type, each "actor: from -> to, detail".
func (l lab) events(t testing.TB, which journal.Type) (all []string) {
	t.Helper()
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == which {
			all = append(all, fmt.Sprintf("%s: %s -> %s, %s", e.Actor, e.From, e.To, e.Detail))
		}
		return nil
	})))
	return all
}

// fleet is nodes of the model m1, and devices that wait to become some.
type fleet struct {
	store state.Store
	nodes map[string]images.Ref // what each boots, by its name
	// visitors are the users who have sessions on a node.
	visitors map[string][]auth.Name
	able     []string // that were up before, in the order in which they are tried
	dark     []string // of these, those that cannot be restarted
	// unbootable is the digest of what no node can boot.
	unbootable string
	// borrowers are those who need the kernel of an image.
	borrowers map[images.Ref][]consent.Claim
	// await is what Await does; nil: it comes up.
	await func(context.Context, images.Ref, func(images.Trial)) error

	mu      sync.Mutex
	waiting []images.Model
}

func (f *fleet) Borrowers(_ context.Context, lender images.Ref) ([]consent.Claim, error) {
	return f.borrowers[lender], nil
}

func (f *fleet) Models(context.Context) ([]images.Model, error) { return []images.Model{"m1"}, nil }

func (f *fleet) Change(ctx context.Context, actor journal.Actor, do func(images.Change) error) (all []images.Restart, err error) {
	_, err = f.store.Update(ctx, func(tx state.Tx) error {
		all = nil
		if err := auth.Admit(tx, actor); err != nil {
			return err
		}
		return do(fleetChange{tx, f, &all})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

type fleetChange struct {
	state.Tx
	*fleet
	restarts *[]images.Restart
}

func (c fleetChange) Booting(ref images.Ref) (using []images.Node, err error) {
	for name, boots := range c.nodes {
		if boots == ref {
			using = append(using, images.Node{Claim: consent.Claim{Node: name, Owner: ref.User}, Model: "m1", Visitors: c.visitors[name]})
		}
	}
	slices.SortFunc(using, func(a, b images.Node) int { return strings.Compare(a.Node, b.Node) })
	return using, nil
}

func (c fleetChange) CanBoot(ref images.Ref, img images.Image) error {
	if img.Digest == c.unbootable {
		return fault.Failedf("%s cannot be booted", img.Ref)
	}
	return nil
}

func (c fleetChange) Restart(n images.Node) error {
	*c.restarts = append(*c.restarts, images.Restart{Node: n.Node, Image: c.nodes[n.Node], Outcome: "ok"})
	return nil
}

func (c fleetChange) Try(present, next images.Ref, not []string) (string, error) {
	for _, name := range c.able {
		if c.nodes[name] != present || slices.Contains(not, name) {
			continue
		}
		c.boot(name, next)
		if slices.Contains(c.dark, name) {
			(*c.restarts)[len(*c.restarts)-1].Outcome = "none"
		}
		return name, nil
	}
	return "", nil
}

// boot has a node boot an image. The transactions of these tests run once.
func (c fleetChange) boot(name string, ref images.Ref) {
	c.nodes[name] = ref
	*c.restarts = append(*c.restarts, images.Restart{Node: name, Image: ref, Outcome: "ok"})
}

func (c fleetChange) Move(from, to images.Ref, restart bool) error {
	if _, err := images.Get(c, to); err != nil {
		return err
	}
	for name, boots := range c.nodes {
		if boots == from && restart {
			c.boot(name, to)
		} else if boots == from {
			c.nodes[name] = to
		}
	}
	return nil
}

func (f *fleet) Await(ctx context.Context, next images.Ref, progress func(images.Trial)) error {
	if f.await == nil {
		return nil
	}
	return f.await(ctx, next, progress)
}

func (c fleetChange) Waiting(model images.Model) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.waiting, model), nil
}

func (c fleetChange) Enroll(model images.Model, _ images.Image) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(m images.Model) bool { return m == model })
	return nil
}

// waits are the models whose default images devices wait for.
func (f *fleet) waits() []images.Model {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.waiting)
}

// shelf is the locations.
type shelf struct {
	images.Content // what is not played

	mu     sync.Mutex
	images map[images.Model]images.Image // default ones
	offers []images.Offer
	links  map[string]images.Image // by location
	err    error                   // why downloads fail, nil when they do not
	before func()                  // called while a link is fetched, if not nil
	held   chan struct{}           // if not nil, downloads of default images wait for its end
	tries  []time.Time             // when those began
	now    int                     // of them that run
	most   int                     // and how many did at most
}

func newShelf() *shelf {
	return &shelf{images: map[images.Model]images.Image{}, links: map[string]images.Image{}}
}

func (s *shelf) HasLocation(name string) error {
	if _, has := s.links[name]; !has && name != images.Here {
		return fault.Failedf("there is no image location %s", name)
	}
	return nil
}

func (s *shelf) Fetch(ctx context.Context, ref images.Ref, _ func(images.Progress)) (images.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries = append(s.tries, time.Now())
	s.now++
	s.most = max(s.most, s.now)
	defer func() { s.now-- }()
	if held := s.held; held != nil {
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	return s.images[images.Model(strings.TrimSuffix(ref.Name, "-default"))], errors.Join(ctx.Err(), s.err)
}

func (s *shelf) FetchLink(ctx context.Context, from images.Link, _ string, report func(images.Progress)) (images.Image, error) {
	report(images.Progress{Done: 3, Total: 9})
	report(images.Progress{Layer: sum("x"), Done: 1, Total: 1, Finished: true})
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[from.Location], errors.Join(ctx.Err(), s.err)
}

func (s *shelf) Load(ctx context.Context, _ images.Archived, to images.Ref, report func(images.Progress)) (images.Image, error) {
	return s.FetchLink(ctx, images.Link{Location: "archive", Ref: to}, "", report)
}

func (s *shelf) Look(_ context.Context, from images.Link, _ string, _ func(string)) (images.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[from.Location], nil
}

func (s *shelf) Platform(images.Image) (string, error) { return "linux/amd64", nil }

func (s *shelf) Offers(context.Context, images.Ref) []images.Offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.offers)
}

// offer has a location offer a version, as FetchLink then finds it.
func (s *shelf) offer(location string, img images.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers = append(s.offers, images.Offer{Location: location, Digest: img.Digest, Created: img.Created})
	s.links[location] = img
}

// hold has downloads wait until release is called.
func (s *shelf) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(held)
		s.held = nil
	}
}

// fail makes downloads fail, or not with nil.
func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// tried returns when downloads of default images began since the last call.
func (s *shelf) tried() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries := s.tries
	s.tries = nil
	return tries
}

// sum is a digest made from a name.
func sum(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// defaultOf is the default image of a model.
func defaultOf(model images.Model) images.Image {
	return images.Image{Ref: images.DefaultRef(model), Digest: sum(string(model)), Models: []images.Model{model}}
}

func ref(full string) images.Ref {
	r, err := images.ParseRef(full)
	if err != nil {
		panic(err)
	}
	return r
}

func keyOf(name auth.Name) string {
	seed := sha256.Sum256([]byte(name))
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// wantFault checks the kind of a fault, and that it names what it must.
func wantFault(t testing.TB, err error, kind fault.Kind, named ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind {
		t.Errorf("got %v, want a fault of kind %d", err, kind)
		return
	}
	for _, name := range named {
		if !strings.Contains(f.Msg+"\n"+f.Hint, name) {
			t.Errorf("%q (hint %q) does not tell of %q", f.Msg, f.Hint, name)
		}
	}
}

// wantContest checks that the error tells of exactly these nodes of bob.
func wantContest(t testing.TB, err error, names ...string) *consent.Error {
	t.Helper()
	c, is := errors.AsType[*consent.Error](err)
	if !is {
		t.Fatalf("got %v, want a consent.Error", err)
	}
	var got []string
	for _, n := range c.Nodes {
		got = append(got, n.Node)
	}
	equal(t, "contested", got, names...)
	return c
}
