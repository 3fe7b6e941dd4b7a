package nfs

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/images/content"
	"walt/images/imagetest"
)

// lab says who sees what, as a lab does.
type lab struct {
	mu   sync.Mutex
	sees map[netip.Addr]map[ID]*content.Tree
	err  error
}

func (l *lab) Tree(_ context.Context, client netip.Addr, image ID) (*content.Tree, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sees[client][image], l.err
}

// show lets an address see an image, or with a nil tree no more.
func (l *lab) show(from string, d content.Digest, tree *content.Tree) {
	l.mu.Lock()
	defer l.mu.Unlock()
	client := netip.MustParseAddr(from)
	if l.sees[client] == nil {
		if l.sees == nil {
			l.sees = map[netip.Addr]map[ID]*content.Tree{}
		}
		l.sees[client] = map[ID]*content.Tree{}
	}
	l.sees[client][IDOf(d)] = tree
}

// image is the tree of an archive.
func image(t testing.TB, archive []byte) (content.Digest, *content.Tree) {
	t.Helper()
	d, tree, _ := imageIn(t, archive)
	return d, tree
}

// imageIn also tells the directory of the content.
func imageIn(t testing.TB, archive []byte) (content.Digest, *content.Tree, string) {
	t.Helper()
	dir := imagetest.MemoryDir(t)
	s, err := content.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	add := func(b []byte) content.Digest {
		if err := s.Add(content.Blob{Digest: content.Sum(b), Size: int64(len(b))}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		return content.Sum(b)
	}
	d := add(fmt.Appendf(nil, `{"layers":[{"digest":%q,"size":%d}]}`, add(archive), len(archive)))
	tree, err := s.Tree(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return d, tree, dir
}

// logs are the lines that a server logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// has reports how many lines have the words.
func (l *logs) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), words)
}

// start serves on an address of loopback, with limits that set may change.
func start(t testing.TB, e Exports, set ...func(*Server)) (addr string, s *Server, logged *logs) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, logged = serve(t, listener, e, set...)
	return listener.Addr().String(), s, logged
}

// serve serves until the end of the test.
func serve(t testing.TB, listener net.Listener, e Exports, set ...func(*Server)) (s *Server, logged *logs) {
	t.Helper()
	logged = &logs{}
	s = &Server{Exports: e, Log: slog.New(slog.NewTextHandler(logged, nil))}
	for _, f := range set {
		f(s)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, logged
}

const home = "127.0.0.1"

// served is a client of a server with an image, and the handle of its root.
func served(t testing.TB, entries ...*tar.Header) (*client, handle) {
	t.Helper()
	d, tree := image(t, imagetest.Archive(t, entries...))
	l := &lab{}
	l.show(home, d, tree)
	addr, _, _ := start(t, l)
	c := dial(t, addr, home)
	return c, c.mount(d)
}

func until(t testing.TB, what string, done func() bool) { t.Helper(); imagetest.Until(t, what, done) }

func TestHandlesOutliveTheServer(t *testing.T) {
	t.Parallel()
	archive := imagetest.Archive(t, imagetest.Regular("etc/motd", "hello"), imagetest.Symlink("etc/issue", "motd"))
	found := map[handle]bool{}
	var root, motd handle
	for range 2 { // servers that know nothing of one another
		d, tree := image(t, archive)
		l := &lab{}
		l.show(home, d, tree)
		addr, _, _ := start(t, l)
		c := dial(t, addr, home)
		if motd == "" {
			root = c.mount(d)
			etc, _ := c.lookup(root, "etc")
			motd, _ = c.lookup(etc, "motd")
		}
		if b, _ := c.read(motd, 0, 10); string(b) != "hello" {
			t.Errorf("got %q", b)
		}
		for _, e := range c.list(root, true, 4096, 4096) {
			found[e.handle] = true
		}
	}
	if len(found) != 2 { // "." and ".." are one, etc the other
		t.Errorf("handles %v", found)
	}
}

func TestImagesAreSeenByThoseWhoMay(t *testing.T) {
	t.Parallel()
	l := &lab{}
	mine, tree := image(t, imagetest.Archive(t, imagetest.Regular("a", "mine")))
	other, others := image(t, imagetest.Archive(t, imagetest.Regular("a", "other")))
	l.show("127.0.0.2", mine, tree)
	l.show("127.0.0.3", other, others)
	addr, _, logged := start(t, l)
	c, x := dial(t, addr, "127.0.0.2"), dial(t, addr, "127.0.0.3")
	root := c.mount(mine)
	a, _ := c.lookup(root, "a")

	for _, path := range []string{Path(mine), "/", "", "etc", Path(mine)[1:], Path(mine) + "/a", "/sha256:" + strings.Repeat("0", 64)} {
		d := x.do(programMount, 1, path)
		wantWords(t, d, mountAccess)
		wantEnd(t, d)
	}
	wantStale := func() {
		t.Helper()
		d := x.nfs(1, a)
		wantWords(t, d, statStale)
		wantEnd(t, d)
	}
	wantStale()
	if logged.count("from=127.0.0.3") == 0 {
		t.Error("what it tried is not in the log")
	}
	l.show("127.0.0.3", mine, tree)
	if b, _ := x.read(a, 0, 10); string(b) != "mine" {
		t.Errorf("got %q", b)
	}
	l.show("127.0.0.3", mine, nil)
	wantStale() // on the same connection

	d := c.do(programMount, 2) // what is mounted
	wantWords(t, d, 0)
	d = c.do(programMount, 5) // what can be
	wantWords(t, d, 0)
	wantEnd(t, c.do(programMount, 3, Path(mine)))
	wantEnd(t, c.do(programMount, 4))
}

func TestClientsWaitForWhatIsNotReady(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, imagetest.Regular("a", "")))
	l := &lab{}
	l.show(home, d, tree)
	addr, _, logged := start(t, l)
	c := dial(t, addr, home)
	root := c.mount(d)
	l.mu.Lock()
	l.err = context.DeadlineExceeded
	l.mu.Unlock()
	wantWords(t, c.nfs(1, root), statJukebox)
	wantWords(t, c.do(programMount, 1, Path(d)), mountServerFault)
	if n := logged.count("not ready"); n != 2 {
		t.Errorf("%d lines in the log, want one of each", n)
	}
}

// What a client was sent of contents is known on all its connections, those that ended
// among them.
func TestReadIsCounted(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, regular("f", "hello"), regular("g", "")))
	addr, s, _ := start(t, open{tree})
	for range 2 {
		c := dial(t, addr, home)
		root := c.mount(d)
		for _, name := range []string{"f", "g", "f"} {
			h, _ := c.lookup(root, name)
			c.read(h, 0, 100)
		}
		c.conn.Close()
	}
	if got, other := s.Read(netip.MustParseAddr(home)), s.Read(netip.MustParseAddr("127.0.0.9")); got != 20 || other != 0 {
		t.Errorf("it was sent %d bytes, and another one %d", got, other)
	}
}
