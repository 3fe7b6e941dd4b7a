package nodelogs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/auth"
	"walt/ethernet"
)

const (
	one = ethernet.MAC("52:54:00:00:00:01")
	two = ethernet.MAC("52:54:00:00:00:02")
)

var all = Query{Nodes: func(ethernet.MAC) bool { return true }, Wanted: func(Line) bool { return true }}

// clock is a time that goes on only by step.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// run opens the store in a directory and has it live until stop is called.
func run(t *testing.T, dir string, c *clock, log *slog.Logger) (s *Store, stop func()) {
	t.Helper()
	s = Open(dir, log, c.read)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func began() *clock { return &clock{now: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)} }

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// texts returns what a query finds, each line as NODE OWNER STREAM TEXT.
func texts(t *testing.T, s *Store, q Query) (found []string) {
	t.Helper()
	err := s.Read(t.Context(), q, func(lines []Line) error {
		found = append(found, words(lines)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func words(lines []Line) (all []string) {
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%s %s %s %s", l.Node[len(l.Node)-1:], l.Owner, l.Stream, l.Text))
	}
	return all
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func say(t *testing.T, s *Store, node ethernet.MAC, text string) {
	t.Helper()
	if !s.Add(node, "bob", "exp1", text) {
		t.Fatalf("%q was not kept", text)
	}
}

// What nodes say is shown in the order in which it came, and is there after a restart, also
// of a server that died in the middle of a line.
func TestLines(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), began()
	s, stop := run(t, dir, c, silent())
	say(t, s, one, "a")
	c.step(time.Second)
	say(t, s, two, "b")
	s.Add(one, auth.Nobody, "", "two\nlines\tand a tab\r\n")
	c.step(time.Second)
	s.Add(one, "carol", "a b\x1b", "\xff"+strings.Repeat("x", mostText))
	want := []string{"1 bob exp1 a", "2 bob exp1 b", "1 waltplatform - two\rlines\tand a tab", "1 carol a_b_ \uFFFD" + strings.Repeat("x", mostText-6) + "…"}
	equal(t, "all", texts(t, s, all), want)
	q := all
	q.Nodes = func(m ethernet.MAC) bool { return m == two }
	equal(t, "of one node", texts(t, s, q), want[1:2])
	q = all
	q.From, q.Until = c.read().Add(-time.Second), c.read()
	equal(t, "between two times", texts(t, s, q), want[1:3])
	stop()

	files, err := filepath.Glob(filepath.Join(dir, "*01", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files of a node are %q, %v", files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("179"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s, _ = run(t, dir, c, silent())
	say(t, s, one, "again")
	equal(t, "after a restart", texts(t, s, all), append(slices.Clone(want), "1 bob exp1 again"))
	last, err := s.Last(t.Context(), all, 2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the last two", words(last), append(slices.Clone(want[3:]), "1 bob exp1 again"))
}

// Whatever happens to the clock, lines are in the order in which they came.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), began()
	s, stop := run(t, dir, c, silent())
	say(t, s, one, "a")
	c.step(-time.Hour)
	say(t, s, one, "b")
	equal(t, "all", texts(t, s, all), []string{"1 bob exp1 a", "1 bob exp1 b"})
	stop()
	c.step(-time.Hour)
	s, _ = run(t, dir, c, silent())
	say(t, s, two, "c")
	equal(t, "all", texts(t, s, all), []string{"1 bob exp1 a", "1 bob exp1 b", "2 bob exp1 c"})
}

// fill has a node say so many bytes, about.
func fill(t *testing.T, s *Store, node ethernet.MAC, size int) {
	t.Helper()
	text := strings.Repeat("x", 1000)
	for range size / len(text) {
		if err := s.Room(t.Context()); err != nil {
			t.Fatal(err)
		}
		say(t, s, node, text)
		if s.pending() >= segmentSize {
			s.flush()
		}
	}
	s.flush()
}

func (s *Store) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// A node that says much loses its own old lines, and takes no room from the others.
func TestLimits(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), began()
	s, stop := run(t, dir, c, silent())
	s.SetLimits(Limits{Size: 4 << 20, Each: 3 << 20})
	say(t, s, two, "quiet")
	fill(t, s, one, 5<<20)
	if s.size > 3<<20+segmentSize || s.size < 2<<20 {
		t.Errorf("%d bytes are kept of a node that may have %d", s.size, 3<<20)
	}
	fill(t, s, two, 3<<19)
	if s.size > 4<<20 {
		t.Errorf("%d bytes are kept, of %d", s.size, 4<<20)
	}
	if got := texts(t, s, all); !slices.Contains(got, "2 bob exp1 quiet") {
		t.Errorf("the quiet node lost its line: %d lines, %d bytes of one, %d of two, %v", len(got), s.logs[one].size, s.logs[two].size, s.logs[two].segments)
	}
	had := s.size
	stop()
	s, _ = run(t, dir, c, silent())
	s.flush()
	<-s.ready
	if s.size != had {
		t.Errorf("after a restart %d bytes are known, of %d", s.size, had)
	}
}

// Lines that are too old are removed, and the folder of a node that has no other.
func TestAge(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &clock{now: time.Now()} // files have the time of the system
	s, _ := run(t, dir, c, silent())
	s.SetLimits(Limits{Size: 1 << 30, Each: 1 << 30, Age: time.Hour})
	fill(t, s, one, 2*segmentSize)
	say(t, s, two, "old")
	s.flush()
	c.step(50 * time.Minute)
	fill(t, s, one, segmentSize+segmentSize/2)
	s.flush()
	files, err := filepath.Glob(filepath.Join(s.folder(one), "*"))
	for _, f := range files { // which of them all lines are in depends on when they were written
		err = errors.Join(err, os.Chtimes(f, c.read(), c.read()))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.sweep()
	if got := len(texts(t, s, all)); got < 800 {
		t.Errorf("of lines that are young %d are left", got)
	}
	c.step(20 * time.Minute)
	s.sweep()
	got := texts(t, s, all)
	if slices.Contains(got, "2 bob exp1 old") || len(got) == 0 || len(got) > 700 {
		t.Errorf("%d lines are left", len(got))
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d folders are left", len(left))
	}
}

// Who follows gets each line once and in order, whoever says it, and those before that
// are asked for.
func TestFollow(t *testing.T) {
	t.Parallel()
	s, _ := run(t, t.TempDir(), &clock{now: time.Now()}, silent())
	const each, writers = 3000, 4
	say(t, s, one, "before")
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				s.Add(ethernet.MAC(fmt.Sprintf("52:54:00:00:01:%02d", w)), "", "n", fmt.Sprint(i))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, last, n := map[ethernet.MAC]int{}, time.Time{}, 0
	err := s.Follow(ctx, all, func(lines []Line, lost bool) error {
		if lost {
			t.Error("lines were lost")
		}
		for _, l := range lines {
			if n++; !l.Time.After(last) {
				t.Errorf("%v is shown after %v", l.Time, last)
			}
			last = l.Time
			if l.Stream == "n" {
				if l.Text != fmt.Sprint(next[l.Node]) {
					t.Errorf("%s: %s instead of %d", l.Node, l.Text, next[l.Node])
				}
				next[l.Node]++
			} else if n > 1 {
				t.Errorf("%q is not the first", l.Text)
			}
		}
		if n == each*writers+1 {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	writing.Wait()
}

// Who follows from now on gets nothing of what was before.
func TestFollowFromNow(t *testing.T) {
	t.Parallel()
	c := began()
	s, _ := run(t, t.TempDir(), c, silent())
	say(t, s, one, "before")
	q := all
	q.From = c.read().Add(time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	c.step(time.Second)
	go func() { // ends at once
		say(t, s, two, "after")
	}()
	err := s.Follow(ctx, q, func(lines []Line, _ bool) error {
		got = append(got, words(lines)...)
		cancel()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "what is shown", got, []string{"2 bob exp1 after"})
}

// Who is so slow that lines are removed before they are shown is told.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	s, _ := run(t, t.TempDir(), began(), silent())
	s.SetLimits(Limits{Size: 1 << 30, Each: 1 << 20})
	say(t, s, one, "first")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := false
	err := s.Follow(ctx, all, func(lines []Line, lost bool) error {
		if len(lines) > 0 && lines[0].Text == "first" {
			fill(t, s, one, 4<<20)
		}
		if told = told || lost; told {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !told {
		t.Error("nobody was told")
	}
}

// What waits for the disk is bounded: then lines are refused, and who can wait does.
func TestRoom(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir(), silent(), began().read) // nothing is written before Run
	close(s.ready)
	text, kept := strings.Repeat("x", mostText), 0
	for s.Add(one, "bob", "exp1", text) {
		if kept++; kept > mostWaiting/mostText {
			t.Fatalf("%d lines wait", kept)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Room(ctx); err == nil {
		t.Error("there is room")
	}
	waited := make(chan error)
	go func() { waited <- s.Room(t.Context()) }()
	s.flush()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	say(t, s, one, "more")
}

// What the disk does not take is lost, which the log says once; then all goes on.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	s, _ := run(t, dir, began(), slog.New(slog.NewTextHandler(&log, nil)))
	<-s.ready
	inTheWay := filepath.Join(dir, "52-54-00-00-00-01")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b"} {
		say(t, s, one, text)
		s.flush()
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("the log says it %d times: %s", n, &log)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	say(t, s, one, "c")
	s.flush()
	equal(t, "what is kept", texts(t, s, all), []string{"1 bob exp1 c", "1 bob walt 2 lines before these were lost: the disk of the server did not take them"})
}

// A line of which half was written when a server died does not become one with a line of
// the next owner, also when the disk fails in between: that would be shown to the former one.
func TestHalfALineAndADiskThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "52-54-00-00-00-01")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "1.log"), []byte("1\tbob\texp1\thalf"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := run(t, dir, began(), silent())
	<-s.ready
	away := folder + "-away"
	if err := errors.Join(os.Rename(folder, away), os.WriteFile(folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	say(t, s, one, "lost")
	s.flush()
	if err := errors.Join(os.Remove(folder), os.Rename(away, folder)); err != nil {
		t.Fatal(err)
	}
	if !s.Add(one, "carol", "exp1", "secret") {
		t.Fatal("no room")
	}
	found := texts(t, s, all)
	equal(t, "what is kept", found[:min(2, len(found))], []string{"1 bob exp1 half", "1 carol exp1 secret"})
}

// What nodes say is never of the stream in which the server speaks.
func TestWordsOfTheServer(t *testing.T) {
	t.Parallel()
	s, _ := run(t, t.TempDir(), began(), silent())
	if !s.Add(one, "bob", "walt", "3 lines were lost here") || !s.Note(one, "bob", "so it is") {
		t.Fatal("no room")
	}
	equal(t, "what is kept", texts(t, s, all), []string{"1 bob walt_ 3 lines were lost here", "1 bob walt so it is"})
}

func BenchmarkAdd(b *testing.B) {
	s := Open(b.TempDir(), silent(), time.Now)
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	nodes := make([]ethernet.MAC, 200)
	for i := range nodes {
		nodes[i] = ethernet.MAC(fmt.Sprintf("52:54:00:00:02:%02x", i))
	}
	for i := 0; b.Loop(); i++ {
		if err := s.Room(ctx); err != nil {
			b.Fatal(err)
		}
		s.Add(nodes[i%len(nodes)], "bob", "exp1", "temperature 21.5 humidity 40 and a little more text")
	}
}
