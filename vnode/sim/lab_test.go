package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/images"
	"walt/nodes"
)

// event is what the lab is told, or asked ("boot").
type event struct {
	what string
	node nodes.Name
	addr string
}

// fakeLab boots every node on the same image and passes on what it hears.
type fakeLab struct {
	events chan event
	hold   chan struct{} // a boot waits for it, if there is one

	mu    sync.Mutex
	image images.Image
	owner ssh.PublicKey // that nodes let in
	shows []ssh.Signer
}

func (l *fakeLab) Boot(ctx context.Context, n nodes.Name) (images.Image, error) {
	l.events <- event{"boot", n, ""}
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return images.Image{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.image, nil
}

func (l *fakeLab) Up(n nodes.Name, addr string) { l.events <- event{"up", n, addr} }
func (l *fakeLab) Down(n nodes.Name, again bool, _ string) {
	l.events <- event{"down", n, map[bool]string{true: "again"}[again]}
}

func (l *fakeLab) Failed(n nodes.Name, reason error) {
	l.events <- event{"failed", n, reason.Error()}
}

func (l *fakeLab) Admits(_ context.Context, n nodes.Name, key ssh.PublicKey) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owner != nil && string(key.Marshal()) == string(l.owner.Marshal()), nil
}

func (l *fakeLab) HostSigners(context.Context, nodes.Name) ([]ssh.Signer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shows, nil
}

// choose sets what nodes boot from now on.
func (l *fakeLab) choose(digest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.image.Digest = digest
}

// expect waits for the next events, in order, and returns the last one.
func (l *fakeLab) expect(t testing.TB, whats ...string) (e event) {
	t.Helper()
	for i, what := range whats {
		select {
		case e = <-l.events:
		case <-time.After(time.Minute):
			t.Fatalf("the lab was not told %q, number %d of %q", what, i+1, whats)
		}
		if e.what != what {
			t.Fatalf("the lab was told %q, want %q, number %d of %q", e.what, what, i+1, whats)
		}
	}
	return e
}

// shelf is a library of file systems.
type shelf map[string]fs.FS

func (s shelf) Files(_ context.Context, digest string) (fs.FS, error) {
	if files, ok := s[digest]; ok {
		return files, nil
	}
	return nil, errors.New("its content is damaged")
}

type lab struct {
	*fakeLab
	sim *Hypervisor
	key ssh.Signer
	log *bytes.Buffer // read it after Close
}

func newLab(t testing.TB, library shelf) *lab {
	l := &lab{fakeLab: &fakeLab{events: make(chan event, 10_000)}, key: newKey(t), log: &bytes.Buffer{}}
	l.choose("one")
	l.sim = New(l, library, l.key.PublicKey(), slog.New(slog.NewTextHandler(l.log, nil)))
	l.sim.Delay = 4 * time.Millisecond
	t.Cleanup(l.sim.Close)
	return l
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// boot starts a node and returns the address that it comes up with.
func (l *lab) boot(t testing.TB, n nodes.Name) string {
	t.Helper()
	l.sim.Start(n)
	return l.expect(t, "boot", "up").addr
}

// login connects to a node as the lab does.
func (l *lab) login(t testing.TB, addr string) *ssh.Client {
	t.Helper()
	c, err := login(addr, "root", ssh.PublicKeys(l.key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func login(addr, user string, with ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: with, Timeout: time.Minute, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
}

// result is how a command on a node ended.
type result struct {
	out, err string
	status   int // -1 without one
}

func run(t testing.TB, c *ssh.Client, command, stdin string) result {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, complaints strings.Builder
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &out, &complaints
	if command == "" {
		err = s.Shell()
	} else {
		err = s.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Wait()
	return result{out.String(), complaints.String(), status(err)}
}

func status(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus()
	}
	return -1
}

func release(name string) fstest.MapFS {
	return fstest.MapFS{"etc/release": {Data: []byte(name + "\n")}}
}
