package nodes

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/power"
	"walt/state"
	"walt/state/badger"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(stormIn); dir != "" {
		fmt.Fprintln(os.Stderr, storm(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// testLab is a lab whose surroundings the test plays: the registries, and what
// runs the virtual nodes. alice is an administrator.
type testLab struct {
	*Lab
	users   *auth.Users
	library *shelf
	grid    *grid
}

// inFull returns what a list shows.
func inFull(l List, err error) ([]DeviceStatus, error) {
	if err != nil {
		return nil, err
	}
	return l.Now(context.Background())
}

// newLab is a lab in memory with some users besides alice, and free nodes of the
// model m1.
func newLab(t testing.TB, users []auth.Name, nodes ...Name) testLab {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	l := over(store, time.Now, newShelf())
	ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
	for _, u := range users {
		l.user(t, u)
	}
	l.image(t, defaultOf("m1"))
	for _, n := range nodes {
		l.node(t, n, "m1")
	}
	return l
}

// over is the lab of a store.
func over(store state.Store, now func() time.Time, library *shelf) testLab {
	log := journal.New(store, now)
	l := testLab{users: auth.New(store, log, now), library: library, grid: &grid{}}
	catalog := images.NewCatalog(images.Config{
		Store: store, Journal: log, Content: library, Log: slog.New(slog.DiscardHandler), Now: now, Retry: time.Second,
	})
	ports := power.New(power.Config{Store: store, Journal: log, Log: slog.New(slog.DiscardHandler), Now: now})
	l.Lab = New(Config{
		Store: store, Journal: log, Users: l.users, Images: catalog, Ports: ports, Hosts: map[HostKind]Host{Simulated: l.grid},
		Log: slog.New(slog.DiscardHandler), Now: now,
	})
	catalog.Nodes, ports.Devices = l.Lab, l.Lab
	l.grid.lab = l.Lab
	return l
}

// Run runs the lab and its ports.
func (l testLab) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Lab.Run(ctx) })
	g.Go(func() error { return l.Ports.Run(ctx) })
	return g.Wait()
}

func (l testLab) user(t testing.TB, name auth.Name) {
	t.Helper()
	_, err := l.users.Add(t.Context(), "alice", name, false, keyOf(name))
	ok(t, err)
}

// node registers a physical node.
func (l testLab) node(t testing.TB, name Name, model images.Model) Device {
	t.Helper()
	d, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name)), Model: model})
	ok(t, err)
	return d
}

// clone is a clone within the server, for a user who is not asked.
func (l testLab) clone(ctx context.Context, from, to images.Ref, force bool, given consent.Agreement) (images.Image, []images.Restart, error) {
	cloned, err := l.Images.CloneFrom(ctx, images.Link{Location: images.Here, Ref: from}, to, images.Terms{Force: force, Given: given})
	return cloned.Image, cloned.Restarts, err
}

// image writes the record of an image.
func (l testLab) image(t testing.TB, img images.Image) {
	t.Helper()
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error { return images.Put(tx, img) })
	ok(t, err)
}

// device reads the record of a device.
func (l testLab) device(t testing.TB, name Name) (d Device) {
	t.Helper()
	ok(t, l.Store.View(t.Context(), func(r state.Reader) (err error) {
		d, err = get(r, name)
		return err
	}))
	return d
}

// owners lists the owners of the nodes.
func (l testLab) owners(t testing.TB, names ...Name) (all []auth.Name) {
	t.Helper()
	for _, n := range names {
		all = append(all, l.device(t, n).Owner())
	}
	return all
}

// events are those of a type, for each of its devices "actor node: from -> to, detail".
func (l testLab) events(t testing.TB, which journal.Type) (all []string) {
	t.Helper()
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type != which {
			return nil
		}
		about := e.About()
		if len(about) == 0 {
			about = []string{""}
		}
		for _, n := range about {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s: %s -> %s, %s", e.Actor, n, e.From, e.To, e.Detail)))
		}
		return nil
	})))
	return all
}

// sum is a digest made from a name.
func sum(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// defaultOf is the default image of a model. m2 and m3 share theirs.
func defaultOf(model images.Model) images.Image {
	img := images.Image{Ref: images.DefaultRef(model), Digest: sum(string(model)), Models: []images.Model{model}}
	if model == "m2" || model == "m3" {
		img.Digest, img.Models, img.Preferred = sum("pair"), []images.Model{"m2", "m3"}, "pair"
	}
	return img
}

func ref(full string) images.Ref {
	r, err := images.ParseRef(full)
	if err != nil {
		panic(err)
	}
	return r
}

func parse(s string) Set {
	parsed, err := ParseSet(s)
	if err != nil {
		panic(err)
	}
	return parsed
}

func keyOf(name auth.Name) string {
	seed := sha256.Sum256([]byte(name))
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

func macOf(name string) ethernet.MAC {
	h := sha256.Sum256([]byte(name))
	return ethernet.MAC(fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3]))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
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

// wantContest checks that the error tells of exactly these contested nodes,
// each "node owner", and returns it.
func wantContest(t testing.TB, err error, changed bool, contested ...string) *consent.Error {
	t.Helper()
	c, is := errors.AsType[*consent.Error](err)
	if !is {
		t.Fatalf("got %v, want a consent.Error", err)
	}
	var got []string
	for _, n := range c.Nodes {
		got = append(got, fmt.Sprintf("%s %s", n.Node, n.Owner))
	}
	if !slices.Equal(got, contested) || len(c.Shown) > 0 != changed {
		t.Fatalf("contested are %q, changed %v; want %q, %v", got, len(c.Shown) > 0, contested, changed)
	}
	return c
}

func equal[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// shelf is the registries.
type shelf struct {
	images.Content // what is not played

	mu     sync.Mutex
	images map[images.Model]images.Image // by model
	err    error                         // why downloads fail, nil when they do not
	tries  []time.Time
	held   chan struct{} // if not nil, downloads wait for its end
}

// newShelf has the default images of m1, m2 and m3, and of m4 one that is for m1.
func newShelf() *shelf {
	s := &shelf{images: map[images.Model]images.Image{}}
	for _, m := range []images.Model{"m1", "m2", "m3"} {
		s.images[m] = defaultOf(m)
	}
	wrong := defaultOf("m1")
	wrong.Ref = images.DefaultRef("m4")
	s.images["m4"] = wrong
	return s
}

var errNoImage = fault.Failedf("the registry has no such image")

func (s *shelf) Fetch(ctx context.Context, ref images.Ref, _ func(images.Progress)) (images.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries = append(s.tries, time.Now())
	if held := s.held; held != nil {
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	if err := errors.Join(ctx.Err(), s.err); err != nil {
		return images.Image{}, err
	}
	img, here := s.images[images.Model(strings.TrimSuffix(ref.Name, "-default"))]
	if !here {
		return img, errNoImage
	}
	return img, nil
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

// tried returns when downloads began since the last call.
func (s *shelf) tried() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries := s.tries
	s.tries = nil
	return tries
}

// grid is a hypervisor whose nodes boot at once.
type grid struct {
	lab  *Lab
	dead bool // nodes that are started do nothing

	refuses error // to start any, if not nil
	broken  error // why none can boot, if not nil

	mu      sync.Mutex
	started []Name
	stopped []Name
}

func (p *grid) Resume(context.Context, Name) bool { return false }

func (p *grid) Start(n Name) error {
	p.mu.Lock()
	p.started = append(p.started, n)
	p.mu.Unlock()
	if p.dead || p.refuses != nil {
		return p.refuses
	}
	switch _, err := p.lab.Boot(context.Background(), n); {
	case err == nil && p.broken != nil:
		p.lab.Failed(n, p.broken)
	case err == nil:
		p.lab.Up(n, "127.0.0.1:1")
	}
	return nil
}

func (p *grid) Stop(n Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = append(p.stopped, n)
}

// take returns which nodes were started since the last call.
func (p *grid) take() []Name {
	p.mu.Lock()
	defer p.mu.Unlock()
	started := p.started
	p.started = nil
	return started
}

// Only is the set of one device.
func Only(name Name) Set { return only(name) }

// errorOf and errorOf3 are the error of a call that returns more.
func errorOf[T any](_ T, err error) error { return err }

func errorOf3[T, U any](_ T, _ U, err error) error { return err }

// set has a node be in a state, as if it had told so.
func (b *board) set(n Name, in State, addr string) {
	b.change(n, func(s *Status) { s.is(in, addr) })
}
