package nodes_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/nodes"
	"walt/power"
	"walt/remote"
	"walt/state"
	"walt/state/badger"
	"walt/vnode/sim"
)

// lab is a lab with simulated nodes: alice and bob, and v1, which is bob's and up.
type lab struct {
	*nodes.Lab
	store state.Store
	sim   *sim.Hypervisor
}

// library has one image, which is made by hand.
type library struct{ images.Content }

func (library) Files(_ context.Context, digest string) (fs.FS, error) {
	return fstest.MapFS{"etc/release": {Data: []byte(digest + "\n")}}, nil
}

func newLab(t *testing.T) lab {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	users := auth.New(store, journal.New(store, time.Now), time.Now)
	ok(t, users.Ensure(t.Context(), "alice", authorized(t)))
	_, err = users.Add(t.Context(), "alice", "bob", false, authorized(t))
	ok(t, err)
	def := images.Image{Ref: images.DefaultRef("m1"), Digest: "sha256:one", Models: []images.Model{"m1"}}
	_, err = store.Update(t.Context(), func(tx state.Tx) error { return images.Put(tx, def) })
	ok(t, err)

	l := start(t, store)
	_, err = l.Create(t.Context(), "bob", nodes.Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	return l
}

// start starts a server, without running it.
func start(t *testing.T, store state.Store) lab {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	ok(t, err)
	key, err := ssh.NewSignerFromSigner(private)
	ok(t, err)
	log := slog.New(slog.DiscardHandler)
	events := journal.New(store, time.Now)
	catalog := images.NewCatalog(images.Config{Store: store, Journal: events, Content: library{}, Log: log, Now: time.Now, Retry: time.Second})
	ports := power.New(power.Config{Store: store, Journal: events, Log: log, Now: time.Now})
	l := lab{store: store, Lab: nodes.New(nodes.Config{
		Store: store, Journal: events, Users: auth.New(store, events, time.Now), Images: catalog, Ports: ports, Key: key, Log: log, Now: time.Now,
	})}
	catalog.Nodes, ports.Devices = l.Lab, l.Lab
	l.sim = sim.New(l.Lab, library{}, key.PublicKey(), log)
	l.sim.Delay = 4 * time.Millisecond
	l.Hosts = map[nodes.HostKind]nodes.Host{nodes.Simulated: l.sim}
	t.Cleanup(l.sim.Close)
	return l
}

func authorized(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	ok(t, err)
	key, err := ssh.NewPublicKey(public)
	ok(t, err)
	return string(ssh.MarshalAuthorizedKey(key))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// up waits until v1 is up on what it should boot, and returns it.
func (l lab) up(t *testing.T) nodes.DeviceStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	list, err := l.Show(ctx, "bob", nodes.Only("v1"))
	ok(t, err)
	if missing, err := l.Wait(ctx, slices.Collect(list.Found()), func([]nodes.Missing) {}); err != nil {
		t.Fatalf("%v: %v", missing, err)
	}
	all, err := list.Now(ctx)
	ok(t, err)
	return all[0]
}

func (l lab) run(t *testing.T, n nodes.DeviceStatus, command, input string) (status int, out, complaints string) {
	t.Helper()
	var o, e bytes.Buffer
	status, err := l.RunSession(t.Context(), "bob", n, command, remote.Session{Command: command, In: strings.NewReader(input), Out: &o, Err: &e})
	ok(t, err)
	return status, o.String(), e.String()
}

func TestSession(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t)
	for _, v := range []struct {
		command, input string
		status         int
		out, err       string
	}{
		{"hostname; cat /etc/release", "", 0, "v1\nsha256:one\n", ""},
		{"cat", "some\ninput", 0, "some\ninput", ""},
		{"exit 7", "", 7, "", ""},
		{"cat /no", "", 1, "", "cat: can't open '/no': No such file or directory\n"},
		{"", "cd /etc\nls\nexit 5\n", 5, "release\n", ""}, // a shell
	} {
		if status, out, err := l.run(t, n, v.command, v.input); status != v.status || out != v.out || err != v.err {
			t.Errorf("%q: got %d, %q, %q", v.command, status, out, err)
		}
	}
}

// TestSessionOnATerminal ends without one more byte of the user, who is still there.
func TestSessionOnATerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t)
	in, keys := io.Pipe()
	defer keys.Close()
	go io.WriteString(keys, "exit 4\r")
	resized := make(chan struct{}, 1)
	resized <- struct{}{}
	var out bytes.Buffer
	status, err := l.RunSession(t.Context(), "bob", n, "", remote.Session{In: in, Out: &out, Err: io.Discard, Terminal: &remote.Terminal{
		Name: "xterm", Size: func() (int, int) { return 80, 24 }, Resized: resized,
	}})
	if err != nil || status != 4 {
		t.Errorf("got %d, %v; shown was %q", status, err, out.String())
	}
}

// guest is somebody on a node, in a visit that does not end by itself: the node
// repeats what the guest says.
type guest struct {
	done chan error
	in   *io.PipeWriter
	out  *io.PipeReader
}

func (l lab) stay(ctx context.Context, t *testing.T, user auth.Name, n nodes.DeviceStatus) guest {
	t.Helper()
	typed, in := io.Pipe()
	out, shown := io.Pipe()
	t.Cleanup(func() { in.Close() })
	g := guest{make(chan error, 1), in, out}
	go func() {
		_, err := l.RunSession(ctx, user, n, "cat", remote.Session{Command: "cat", In: typed, Out: shown, Err: io.Discard})
		g.done <- err
		shown.Close()
	}()
	g.says(t, "hello")
	return g
}

func (g guest) says(t *testing.T, what string) {
	t.Helper()
	heard := make([]byte, len(what))
	go io.WriteString(g.in, what)
	if _, err := io.ReadFull(g.out, heard); err != nil || string(heard) != what {
		t.Fatalf("heard %q, %v, and not %q", heard, err, what)
	}
}

// end waits for the end of the visit.
func (g guest) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-g.done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the visit does not end")
		return nil
	}
}

func wantTaken(t *testing.T, err error) {
	t.Helper()
	if f := fault.As(err); f == nil || !strings.Contains(f.Msg, "v1 changed hands") {
		t.Errorf("got %v", err)
	}
}

func TestSessionIsCutWhenTheNodeIsTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t)
	visit := l.stay(t.Context(), t, "bob", n)
	_, err := l.Acquire(t.Context(), "alice", nodes.Only("v1"), nodes.Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	wantTaken(t, visit.end(t))

	// Even if the node was shown before, nobody enters it with that.
	_, err = l.RunSession(t.Context(), "bob", n, "true", remote.Session{Command: "true", In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	wantTaken(t, err)
	if status, out, _ := l.run(t, l.up(t), "hostname", ""); status != 0 || out != "v1\n" {
		t.Errorf("the new run: got %d, %q", status, out)
	}
}

// TestSessionIsCutWhenTheNodeIsInherited: it passes to another user, but runs on.
func TestSessionIsCutWhenTheNodeIsInherited(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t)
	visit := l.stay(t.Context(), t, "bob", n)
	mine := l.stay(t.Context(), t, "alice", n)
	_, err := l.RemoveUser(t.Context(), "alice", "bob", nodes.Legacy{Heir: "alice"})
	ok(t, err)
	wantTaken(t, visit.end(t))
	mine.says(t, "mine now")
	if now := l.up(t); now.Addr != n.Addr || now.Owner() != "alice" {
		t.Errorf("it is %s's, at %s, and was at %s", now.Owner(), now.Addr, n.Addr)
	}
	l.sim.Stop("v1")
	if err := mine.end(t); fault.As(err) == nil || !strings.Contains(err.Error(), "v1") {
		t.Errorf("the node lost its power: %v", err)
	}
}

// A machine that loses its power says nothing: its sessions end all the same.
func TestSessionEndsWithItsMachine(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	visit := l.stay(t.Context(), t, "bob", l.up(t))
	l.Down("v1", false, "power cut")
	if f := fault.As(visit.end(t)); f == nil || f.Msg != "v1 went down: power cut" {
		t.Errorf("got %v", f)
	}
}

// The owner is told who is on a node, and so is the log; of one's own nodes and
// free ones there is nothing to tell.
func TestVisitsAreTold(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t) // bob's
	visit := func(user auth.Name, n nodes.DeviceStatus, shown string) {
		t.Helper()
		_, err := l.RunSession(t.Context(), user, n, shown, remote.Session{Command: "true", In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		ok(t, err)
	}
	visit("bob", n, "mine")
	visit("alice", n, "")
	visit("alice", n, strings.Repeat("é", 300))
	_, err := l.Release(t.Context(), "bob", nodes.Only("v1"))
	ok(t, err)
	visit("alice", l.up(t), "free now")

	long := strings.Repeat("é", 200) + "..."
	var logged []string
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Visit {
			logged = append(logged, fmt.Sprintf("%s %s %s: %s", e.Actor, e.Node, e.From, e.Detail))
		}
		return nil
	})))
	if want := []string{"alice v1 bob: opened a shell", "alice v1 bob: ran a command: " + long}; !slices.Equal(logged, want) {
		t.Errorf("the log tells %q, want %q", logged, want)
	}
	told, err := l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)
	if want := []string{"alice opened a shell on your node v1", "alice ran a command on your node v1: " + long}; !slices.Equal(told, want) {
		t.Errorf("bob is told %q, want %q", told, want)
	}
}

func TestSessionFails(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := l.up(t)
	ctx, cancel := context.WithCancel(t.Context())
	visit := l.stay(ctx, t, "bob", n)
	cancel()
	if err := visit.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	off, nobody := n, n
	off.State, nobody.Addr = nodes.Off, "127.0.0.1:1"
	for what, n := range map[string]nodes.DeviceStatus{"not up": off, "connection": nobody} {
		_, err := l.RunSession(t.Context(), "bob", n, "true", remote.Session{Command: "true", In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		if f := fault.As(err); f == nil || !strings.Contains(f.Msg, what) || !strings.Contains(f.Msg, "v1") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestRebootIsFinishedAtTheNextStart ends a server between a change of image and
// the reboot: the next one starts the node on what it should boot.
func TestRebootIsFinishedAtTheNextStart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.up(t)
	fresh := images.Image{Ref: images.Ref{User: "bob", Name: "fresh", Tag: "latest"}, Digest: "sha256:two", Models: []images.Model{"m1"}}
	_, err := l.store.Update(t.Context(), func(tx state.Tx) error { return images.Put(tx, fresh) })
	ok(t, err)
	l.sim.Close() // from here on it starts nothing
	_, err = l.SetImage(t.Context(), "bob", nodes.Only("v1"), "fresh", nodes.Remarks{}, consent.Agreement{})
	ok(t, err)

	next := start(t, l.store)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- next.Run(ctx) }()
	if status, out, _ := next.run(t, next.up(t), "cat /etc/release", ""); status != 0 || out != "sha256:two\n" {
		t.Errorf("it runs %q (%d)", out, status)
	}
	cancel()
	ok(t, <-stopped)
}

// TestStormOfStarts has nodes change hands, names and existence while they boot.
func TestStormOfStarts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	done := make(chan error)
	for i := range 3 {
		go func() {
			var last error
			for j := range 10 {
				name := nodes.Name(fmt.Sprintf("x%d-%d", i, j))
				_, err := l.Create(t.Context(), "bob", nodes.Virtual{Name: name, Model: "m1"}, nil)
				last = errors.Join(last, err)
				_, err = l.Acquire(t.Context(), "alice", nodes.Only(name), nodes.Remarks{}, consent.Agreement{Whoever: true})
				last = errors.Join(last, err)
				_, err = l.Rename(t.Context(), "alice", name, name+"-y", consent.Agreement{})
				last = errors.Join(last, err)
				_, err = l.Remove(t.Context(), "bob", nodes.Only(name+"-y"), consent.Agreement{Whoever: true})
				last = errors.Join(last, err)
			}
			done <- last
		}()
	}
	for range 3 {
		ok(t, <-done)
	}
	all, err := l.All(t.Context())
	ok(t, err)
	if all.Len() != 1 {
		t.Errorf("there are %d nodes", all.Len())
	}
	l.up(t)
}
