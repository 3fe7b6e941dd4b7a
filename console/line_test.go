package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/ethernet"
)

const mac = ethernet.MAC("52:54:00:00:00:01")

// desk is lines of nodes in a term that tests change.
type desk struct {
	*Lines
	mu   sync.Mutex
	term string
}

func newDesk(t *testing.T, dir string) *desk {
	d := &desk{term: "bob 1"}
	d.Lines = New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Now: time.Now, Term: func(ethernet.MAC) string {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.term
	}})
	d.again = time.Millisecond
	t.Cleanup(d.Close)
	return d
}

// pass has the node be of another term.
func (d *desk) pass(term string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.term = term
}

// nobodyLater is of one who has the node in no later term.
func nobodyLater() string { return "" }

// sit has a user sit at the line until the end of the test.
func sit(t *testing.T, l *Line, who, term string) *Seat {
	s := l.Sit(who, term, nobodyLater)
	t.Cleanup(s.Leave)
	return s
}

// wants reads from a seat until it has all of a text, and no other.
func wants(t *testing.T, s *Seat, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []byte
	p := make([]byte, 1000)
	for len(got) < len(want) {
		n, lost, err := s.Read(ctx, p)
		if err != nil || lost > 0 {
			t.Fatalf("after %q: %d lost, %v; want %q", got, lost, err, want)
		}
		got = append(got, p[:n]...)
	}
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// reads reads what is there now.
func reads(s *Seat) string {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	var all []byte
	for p := make([]byte, 1000); ; {
		n, _, err := s.Read(gone, p)
		if err != nil {
			return string(all)
		}
		all = append(all, p[:n]...)
	}
}

func history(t *testing.T, l *Line, term string) string {
	t.Helper()
	c, err := l.History(term)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// All read the same, whoever comes later from what is at hand on, whatever bytes these are.
func TestReaders(t *testing.T) {
	t.Parallel()
	l := newDesk(t, t.TempDir()).Of(mac)
	early := sit(t, l, "bob", "bob 1")
	l.Feed([]byte("login: \xff\x00\x1b[2J"))
	late := sit(t, l, "carol", "bob 1")
	l.Feed([]byte("more"))
	for _, s := range []*Seat{early, late} {
		wants(t, s, "login: \xff\x00\x1b[2Jmore")
	}
	l.Feed(bytes.Repeat([]byte("0123456789abcdef"), replay/8))
	if got := reads(sit(t, l, "dave", "bob 1")); len(got) != replay {
		t.Errorf("%d bytes of what came before are shown, want %d", len(got), replay)
	}
}

// Who reads nothing holds up nobody, and is told how much is lost.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	l := newDesk(t, t.TempDir()).Of(mac)
	slow, quick := sit(t, l, "bob", "bob 1"), sit(t, l, "carol", "bob 1")
	const all = 10 * ahead
	for range all / 4096 {
		l.Feed(bytes.Repeat([]byte("x"), 4096))
		wants(t, quick, strings.Repeat("x", 4096))
	}
	p := make([]byte, 100)
	n, lost, err := slow.Read(t.Context(), p)
	got := lost + int64(n) + int64(len(reads(slow)))
	if err != nil || lost < all-2*ahead-4096 || got != all {
		t.Errorf("%d bytes of %d are lost, %d told of: %v", lost, all, got, err)
	}
	if len(l.tail) > 2*ahead+4096 {
		t.Errorf("%d bytes are at hand", len(l.tail))
	}
}

// wired is what a line is connected to, which notes what is written there.
type wired struct {
	bytes.Buffer
	err    error
	breaks int
}

func (w *wired) Break(context.Context) error {
	w.breaks++
	return w.err
}

func (w *wired) SetWriteDeadline(time.Time) error { return nil }

func (w *wired) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	return w.Buffer.Write(b)
}

// One writes at a time: the first who takes the line, until leaving it.
func TestOneWrites(t *testing.T) {
	t.Parallel()
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	bob, carol := l.Sit("bob", "bob 1", nobodyLater), sit(t, l, "carol", "bob 1")
	if _, took := bob.Take(); !took {
		t.Error("bob cannot write")
	}
	if other, took := carol.Take(); took || other != "bob" {
		t.Errorf("carol takes it from %q: %v", other, took)
	}
	if _, err := carol.Write([]byte("no")); err == nil {
		t.Error("carol writes")
	}
	if _, err := bob.Write([]byte("nobody hears")); !errors.Is(err, ErrUnplugged) {
		t.Error(err)
	}
	if err := bob.Break(); !errors.Is(err, ErrUnplugged) {
		t.Error(err)
	}
	var w wired
	l.PlugIn(&w)
	if _, err := bob.Write([]byte("\x03\xff\x00")); err != nil || w.String() != "\x03\xff\x00" {
		t.Errorf("%q came of it, %v", w.String(), err)
	}
	if err := carol.Break(); !errors.Is(err, io.ErrClosedPipe) || w.breaks != 0 {
		t.Errorf("carol sends a BREAK: %v", err)
	}
	for want, err := range map[error]error{nil: nil, ErrNoBreak: ErrNoBreak, ErrUnplugged: os.ErrDeadlineExceeded} {
		w.breaks, w.err = 0, err
		if err := bob.Break(); !errors.Is(err, want) || w.breaks != 1 {
			t.Errorf("bob's BREAK comes %d times: %v", w.breaks, err)
		}
	}
	w.err = os.ErrDeadlineExceeded
	if _, err := bob.Write([]byte("x")); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	w.err = nil
	bob.Leave()
	if _, took := carol.Take(); !took {
		t.Error("carol cannot write though bob left")
	}
	d.pass("carol 2") // who bob had it from is not who it is now
	if _, err := carol.Write([]byte("x")); !errors.Is(err, ErrElsewhere) {
		t.Error(err)
	}
}

// Who writes is told once who else would, and writes from wherever they sit.
func TestAsks(t *testing.T) {
	t.Parallel()
	l := newDesk(t, t.TempDir()).Of(mac)
	var w wired
	l.PlugIn(&w)
	office, home, carol := l.Sit("bob", "bob 1", nobodyLater), sit(t, l, "bob", "bob 1"), sit(t, l, "carol", "bob 1")
	told := func(s *Seat) (who string) {
		select {
		case who = <-s.Asks():
		default:
		}
		return who
	}
	carol.Ask() // nobody
	office.Take()
	for range 2 {
		carol.Ask()
		if _, took := home.Take(); !took {
			t.Error("bob cannot write at home")
		}
		carol.Ask()
		office.Take()
	}
	office.Ask() // who writes already
	if at, other := told(office), told(home); at != "carol" || other != "carol" {
		t.Errorf("bob is told of %q in the office, and of %q at home", at, other)
	}
	if again := told(office) + told(home) + told(carol); again != "" {
		t.Errorf("somebody is told of %s once more", again)
	}
	if _, err := home.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("bob writes from two places at once: %v", err)
	}
	office.Leave()
	if _, took := home.Take(); !took {
		t.Error("bob cannot write at home any more")
	}
}

// sluggish is a plug that takes some bytes until each deadline, and does something with each.
type sluggish struct {
	wired
	takes func() int
	limit time.Duration // of the last write
}

func (s *sluggish) SetWriteDeadline(at time.Time) error {
	s.limit = time.Until(at)
	return nil
}

func (s *sluggish) Write(b []byte) (int, error) {
	if n := s.takes(); n < len(b) {
		s.Buffer.Write(b[:n])
		return n, os.ErrDeadlineExceeded
	}
	return s.Buffer.Write(b)
}

// A node that takes a long text slowly gets all of it. One that takes nothing is waited for
// once, until it takes something again.
func TestLongText(t *testing.T) { synctest.Test(t, longText) }

func longText(t *testing.T) {
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	takes := 100
	w := &sluggish{takes: func() int { return takes }}
	l.PlugIn(w)
	bob := sit(t, l, "bob", "bob 1")
	bob.Take()
	text := strings.Repeat("0123456789abcdef", 256)
	if n, err := bob.Write([]byte(text)); n != len(text) || err != nil || w.String() != text {
		t.Errorf("%d bytes of %d were taken, %v", n, len(text), err)
	}
	for _, step := range []struct {
		takes  int
		err    error
		waited bool
	}{{0, ErrFull, true}, {0, ErrFull, false}, {1000, nil, false}, {0, ErrFull, true}} {
		takes = step.takes
		_, err := bob.Write([]byte("x"))
		if waited := w.limit == typeLimit; !errors.Is(err, step.err) || waited != step.waited {
			t.Errorf("where %d bytes are taken: %v, and it is waited for: %v", takes, err, waited)
		}
	}
	w.Reset()
	w.takes = func() int {
		if w.Len() == 300 {
			d.pass("carol 2")
		}
		return 100
	}
	if n, err := bob.Write([]byte(text)); n != 400 || !errors.Is(err, ErrElsewhere) || w.String() != text[:400] {
		t.Errorf("in the middle of a hand-over %d bytes were taken, %v", n, err)
	}
}

// Nobody reads what was written in another term: not as it comes, not of what is at hand, not
// of what is kept, over a restart of the server either. What is for nobody is not kept.
func TestTerms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDesk(t, dir)
	l := d.Of(mac)
	bob := sit(t, l, "bob", "bob 1")
	l.Feed([]byte("bob's"))
	wants(t, bob, "bob's")
	d.pass("")
	l.Feed([]byte("what bob left"))
	d.pass("carol 2")
	carol := sit(t, l, "carol", "carol 2")
	for who, s := range map[string]*Seat{"bob": bob, "carol": carol} {
		if got := reads(s); got != "" {
			t.Errorf("%s reads %q", who, got)
		}
	}
	if got := history(t, l, "carol 2"); got != "" {
		t.Errorf("carol finds %q", got)
	}
	if got := history(t, l, "bob 1"); got != "bob's" {
		t.Errorf("until carol's node writes, there is %q", got)
	}
	l.Feed([]byte("carol's"))
	wants(t, carol, "carol's")
	if got := reads(bob); got != "" {
		t.Errorf("bob reads %q", got)
	}
	again := newDesk(t, dir)
	again.pass("carol 2")
	l = again.Of(mac)
	wants(t, sit(t, l, "carol", "carol 2"), "carol's")
	l.Feed([]byte(" more"))
	for term, want := range map[string]string{"bob 1": "", "carol 2": "carol's more", "carol 3": "", "": ""} {
		if got := history(t, l, term); got != want {
			t.Errorf("in the term %q: %q, want %q", term, got, want)
		}
	}
	wants(t, sit(t, l, "carol", "carol 2"), "carol's more")
	if got := string(l.Last("carol 2")); got != "carol's more" || l.Last("bob 1") != nil {
		t.Errorf("the last is %q", got)
	}
}

// What comes first after a restart does not push out what was kept before.
func TestRecallsBeforeFeeding(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newDesk(t, dir).Of(mac).Feed([]byte("before"))
	l := newDesk(t, dir).Of(mac)
	l.Feed([]byte(" after"))
	wants(t, sit(t, l, "bob", "bob 1"), "before after")
}

// Who sits at a node in a term and has it in the next one, too, goes on.
func TestFollows(t *testing.T) {
	t.Parallel()
	d := newDesk(t, t.TempDir())
	d.pass("free 1")
	l := d.Of(mac)
	var w wired
	l.PlugIn(&w)
	mine := ""
	bob, carol := l.Sit("bob", "free 1", func() string { return mine }), sit(t, l, "carol", "free 1")
	defer bob.Leave()
	bob.Take()
	l.Feed([]byte("free"))
	for _, s := range []*Seat{bob, carol} {
		wants(t, s, "free")
	}
	mine = "bob 2"
	d.pass("bob 2")
	l.Feed([]byte("bob's"))
	wants(t, bob, "bob's")
	if got := reads(carol); got != "" {
		t.Errorf("carol reads %q", got)
	}
	if _, err := bob.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	mine = "bob 3"
	d.pass("bob 3") // before anything is written in it
	if _, err := bob.Write([]byte("y")); err != nil || w.String() != "xy" {
		t.Errorf("%q came of it, %v", w.String(), err)
	}
}

// What is kept has a bound, and what comes faster than a serial line is not all kept.
func TestFlood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDesk(t, dir)
	now := time.Now()
	d.Now = func() time.Time { return now }
	l := d.Of(mac)
	fed := 0
	feed := func(n int) {
		for range n {
			fed += 4096
			l.Feed(bytes.Repeat([]byte{'a' + byte(fed/4096%26)}, 4096))
		}
	}
	feed(2 * recordBurst / 4096)
	got := history(t, l, "bob 1")
	if len(got) != recordBurst {
		t.Errorf("%d bytes of %d at once are kept, want %d", len(got), fed, recordBurst)
	}
	for range 10 * 2 * recordSize / recordBurst {
		now = now.Add(recordBurst / recordRate * time.Second)
		feed(recordBurst/4096 + 1)
	}
	got = history(t, l, "bob 1")
	if len(got) > 2*recordSize || len(got) < recordSize || !strings.Contains(got, "[walt: 4096 bytes were not kept: they came too fast, or there was no room]") {
		t.Errorf("%d bytes are kept", len(got))
	}
	files, err := os.ReadDir(filepath.Join(dir, folder(mac)))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if is, err := f.Info(); err != nil || is.Size() > recordSize || is.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), is, err)
		}
	}
}

// A history that somebody reads stays what it was while the next one begins.
func TestHistoryWhileItGoesOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, t.TempDir())
	l := d.Of(mac)
	l.Feed([]byte("bob's"))
	c, err := l.History("bob 1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Feed([]byte(" later"))
	d.pass("carol 2")
	l.Feed([]byte("carol's secret"))
	if got, err := io.ReadAll(c); err != nil || string(got) != "bob's" {
		t.Errorf("%q, %v", got, err)
	}
}

// Of a node that is gone nothing is kept.
func TestForget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDesk(t, dir)
	const other = ethernet.MAC("52:54:00:00:00:02")
	for _, m := range []ethernet.MAC{mac, other} {
		d.Of(m).Feed([]byte(m))
	}
	if err := os.Mkdir(filepath.Join(dir, "somebody's"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(mac); err != nil {
		t.Fatal(err)
	}
	left := func(want ...string) {
		t.Helper()
		var got []string
		files, err := os.ReadDir(dir)
		for _, f := range files {
			got = append(got, f.Name())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
			t.Errorf("left are %q, %v; want %q", got, err, want)
		}
	}
	left(folder(other), "somebody's")
	for _, known := range []bool{true, false} {
		if err := newDesk(t, dir).Sweep(func(m ethernet.MAC) bool { return known && m == other }); err != nil {
			t.Fatal(err)
		}
		if known {
			left(folder(other), "somebody's")
		}
	}
	left("somebody's")
	if err := newDesk(t, filepath.Join(dir, "none")).Sweep(func(ethernet.MAC) bool { return false }); err != nil {
		t.Error(err)
	}
}

// A disk that takes nothing keeps nobody from reading.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := newDesk(t, dir)
	d.Log = slog.New(slog.NewTextHandler(&log, nil))
	l := d.Of(mac)
	for range 3 {
		l.Feed([]byte("x"))
	}
	wants(t, sit(t, l, "bob", "bob 1"), "xxx")
	if n := strings.Count(log.String(), "keep what a node writes"); n != 1 {
		t.Errorf("it is in the log %d times: %s", n, log.String())
	}
}

// What the disk had no room for is missing where it was, and said to be.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	l := newDesk(t, t.TempDir()).Of(mac)
	l.Feed([]byte("before"))
	file := l.kept.file.file
	l.kept.file.file = full
	for range 2 {
		l.Feed([]byte("lost"))
	}
	l.kept.file.file = file
	l.Feed([]byte("after"))
	const note = "\r\n[walt: 8 bytes were not kept: they came too fast, or there was no room]\r\n"
	if got := history(t, l, "bob 1"); got != "before"+note+"after" {
		t.Errorf("kept is %q", got)
	}
	wants(t, sit(t, l, "carol", "bob 1"), "beforelostlostafter")
}

func BenchmarkFeed(b *testing.B) {
	d := New(Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now, Term: func(ethernet.MAC) string { return "bob 1" }})
	l := d.Of(mac)
	chunk := bytes.Repeat([]byte("x"), 4096)
	b.SetBytes(4096)
	for b.Loop() {
		l.Feed(chunk)
	}
}
