package badger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"walt/fault"
	"walt/state"
)

// powerCut is the disk of a store as it is sure to be: of its logs it has what
// they held when a synchronisation began that has ended.
type powerCut struct {
	mu    sync.Mutex
	logs  map[string][]byte
	rows  []string // that were acknowledged
	syncs int
}

// watch has the store's synchronisations noted.
func (p *powerCut) watch(b *Store) {
	l := &b.disk.logs
	l.msync = func(pages []byte, flags int) error {
		path := logPath(l.dir, l.number)
		held, gone := readWritten(path) // not the pages: badger may cut the file of a log that became a table
		err := unix.Msync(pages, flags)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.syncs++
		if gone == nil {
			p.logs[filepath.Base(path)] = held
		}
		return err
	}
}

// cut returns a directory with what a cut of the power leaves of the store, and the
// rows that must be there. Of what was not synchronised, some pages are there.
func (p *powerCut) cut(t *testing.T, dir string, seed uint64) (left string, rows []string) {
	t.Helper()
	p.mu.Lock()
	rows = slices.Clone(p.rows)
	logs := map[string][]byte{}
	for file, held := range p.logs {
		logs[file] = bytes.Clone(held)
	}
	noted, err := os.ReadFile(filepath.Join(dir, openFile)) // now: it may soon tell of a log that is not among these
	p.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, badgerDir)
	for range 100 { // until badger makes and removes no tables meanwhile
		left = t.TempDir()
		manifest := filepath.Join(source, "MANIFEST")
		before, err := os.ReadFile(manifest)
		if err != nil {
			t.Fatal(err)
		}
		err = os.CopyFS(left, os.DirFS(dir))
		after, _ := os.ReadFile(manifest)
		if err == nil && bytes.Equal(before, after) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	present, err := findLogs(filepath.Join(left, badgerDir))
	if err := errors.Join(err, os.WriteFile(filepath.Join(left, openFile), noted, 0o600)); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for _, l := range present {
		now, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		held := make([]byte, len(now))
		copy(held, logs[filepath.Base(l.path)])
		for at := 0; at+page <= len(now); at += page {
			if random.IntN(2) == 0 {
				copy(held[at:at+page], now[at:])
			}
		}
		if err := os.WriteFile(l.path, held, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return left, rows
}

// TestPowerCut has writers fill logs while the power is cut again and again: what
// was acknowledged is there, and what is torn is not called damage.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	skipRaced(t)
	dir := t.TempDir()
	b, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := &powerCut{logs: map[string][]byte{}}
	p.watch(b)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	defer writers.Wait()
	defer close(stop)
	for w := range 16 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				row := fmt.Sprintf("row-%d-%d", w, i)
				_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put(row, bytes.Repeat([]byte("v"), 1000*(1+i%60))) })
				if err != nil {
					t.Error(err)
					return
				}
				p.mu.Lock()
				p.rows = append(p.rows, row)
				p.mu.Unlock()
			}
		})
	}
	for n := range 6 {
		for begun := len(p.acknowledged()); len(p.acknowledged()) < begun+300; {
			time.Sleep(time.Millisecond)
		}
		left, rows := p.cut(t, dir, uint64(n))
		after, err := Open(left, nil)
		if err != nil {
			t.Fatalf("after cut %d, with %d rows: %v", n, len(rows), err)
		}
		err = after.View(t.Context(), func(r state.Reader) error {
			for _, row := range rows {
				if _, err := r.Get(row); err != nil {
					return fmt.Errorf("%s: %w", row, err)
				}
			}
			return nil
		})
		if err := errors.Join(err, after.Close()); err != nil {
			t.Fatalf("after cut %d, with %d rows: %v", n, len(rows), err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.logs) < 2 {
		t.Errorf("only %d log was filled", len(p.logs))
	}
	if p.syncs > len(p.rows) {
		t.Errorf("%d synchronisations for %d changes of sixteen writers", p.syncs, len(p.rows))
	}
}

func (p *powerCut) acknowledged() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rows
}

// TestDiskFails has synchronising fail once: that change is not reported as done,
// and there are no others, whatever the disk says afterwards. Who only read, while it
// failed or later, is told of that, too, rather than of what may not last.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b, err := Open(t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	put := func() error {
		_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) })
		return err
	}
	read := func() error {
		_, err := b.Update(t.Context(), func(tx state.Tx) error { _, err := tx.Get("a"); return err })
		return err
	}
	watch := b.Watch("a")
	synchronising, fail := make(chan struct{}), make(chan struct{})
	b.disk.logs.msync = func([]byte, int) error {
		close(synchronising)
		<-fail
		return unix.EIO
	}
	var first, during error
	var both sync.WaitGroup
	both.Go(func() { first = put() })
	<-synchronising
	both.Go(func() {
		_, during = b.Update(t.Context(), func(tx state.Tx) error {
			defer close(fail)
			_, err := tx.Get("a")
			return err
		})
	})
	both.Wait()
	b.disk.logs.msync = unix.Msync
	there := b.View(t.Context(), func(r state.Reader) error { _, err := r.Get("a"); return err }) == nil
	if _, told, err := watch.Take(); !there || !told || err != nil {
		t.Errorf("of what may not last, reads see %v, a watch was told: %v, %v", there, told, err)
	}
	for says, errs := range map[string][]error{
		"whether this change lasts is not known": {first},
		"nothing was changed":                    {during, put(), read()},
	} {
		for i, err := range errs {
			if f := fault.As(err); f == nil || !strings.Contains(f.Error(), "input/output error; "+says) || f.Hint == "" {
				t.Errorf("error %d, which should say %q: %v", i, says, err)
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if logs, err := usedLogs(b.space.logs); err != nil || len(logs) != 1 {
		t.Errorf("a store whose disk failed was closed with the logs %v, %v: badger may try to make a table for ever", logs, err)
	}
	if n := strings.Count(log.String(), "input/output error"); n != 1 {
		t.Errorf("the log tells of it %d times:\n%s", n, &log)
	}
}

// TestReadingLasts has an update that only reads see what another one wrote, and return
// when that is on disk and was told.
func TestReadingLasts(t *testing.T) {
	t.Parallel()
	b, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	watch := b.Watch("a")
	synchronising, read := make(chan struct{}), make(chan struct{})
	var lasts atomic.Bool
	b.disk.logs.msync = func(pages []byte, flags int) error {
		close(synchronising)
		<-read
		time.Sleep(20 * time.Millisecond) // in which who does not wait would return
		lasts.Store(true)
		return unix.Msync(pages, flags)
	}
	var write sync.WaitGroup
	write.Go(func() {
		if _, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) }); err != nil {
			t.Error(err)
		}
	})
	<-synchronising
	_, err = state.Lasting(t.Context(), b, func(r state.Reader) ([]byte, error) {
		defer close(read)
		return r.Get("a")
	})
	lasting := lasts.Load()
	if _, told, failed := watch.Take(); !lasting || !told || errors.Join(err, failed) != nil {
		t.Errorf("it lasts: %v, and was told: %v, %v", lasting, told, errors.Join(err, failed))
	}
	write.Wait()
}

// TestCloseInTime closes what does not come to an end.
func TestCloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		defer close(stuck)
		err := inTime(func() error { <-stuck; return nil })
		if f := fault.As(err); f == nil || f.Hint == "" {
			t.Errorf("not ended: %v", err)
		}
		if err := inTime(func() error { return unix.EIO }); !errors.Is(err, unix.EIO) {
			t.Errorf("ended: %v", err)
		}
	})
}

// TestNoNextLog has badger fail to begin its next log, as when the disk can only be
// read any more: whoever it was is told so, and it is not asked again, for which it
// would end the process.
func TestNoNextLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for n := 1; ; n++ {
		if next := logPath(filepath.Join(dir, badgerDir), 2); os.Remove(next) == nil {
			if err := os.Symlink("/no such directory/log", next); err != nil {
				t.Fatal(err)
			}
		}
		_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", make([]byte, 1<<19)) })
		if err == nil && n < 3*memTableSize>>19 {
			continue
		}
		if f := fault.As(err); f == nil || !strings.Contains(f.Error(), "no such file or directory; whether this change lasts is not known") {
			t.Fatalf("change %d: %q", n, err)
		}
		break
	}
	_, err = b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) })
	if f := fault.As(err); f == nil || !strings.Contains(f.Error(), "nothing was changed") {
		t.Errorf("after that: %v", err)
	}
	err = b.View(t.Context(), func(r state.Reader) error {
		for range r.Keys("", "") {
			t.Error("there is a key in what badger has lost")
		}
		return nil
	})
	if f := fault.As(err); f == nil || f.Hint == "" {
		t.Errorf("reading after that: %v", err)
	}
}

// TestNextLog begins the next log while one is synchronised: what came into that
// one in between is synchronised by the next round.
func TestNextLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begin := func(number int) {
		if err := os.WriteFile(logPath(dir, number), make([]byte, page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin(1)
	var order []int
	l := &newRounds(dir, nil).logs
	defer l.close()
	l.msync = func([]byte, int) error {
		if len(order) == 0 {
			begin(2)
		}
		order = append(order, l.number)
		return nil
	}
	for range 3 {
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{1, 1, 2, 2}; !slices.Equal(order, want) {
		t.Errorf("logs were synchronised in the order %v, want %v", order, want)
	}
}

// TestRoundGathers has a round wait for an update that is under way, so that one
// synchronisation is enough for both; for one that takes long it waits once.
func TestRoundGathers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(logPath(dir, 1), make([]byte, page), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := newRounds(dir, nil)
		defer g.close()
		g.most = time.Hour
		syncs := 0
		g.logs.msync = func([]byte, int) error { syncs++; return nil }
		if err := g.begin(); err != nil { // which synchronises a log that it finds
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var firsts atomic.Int32
		come := func(a *arrival) {
			all.Go(func() {
				first, err := g.wait(a)
				if err != nil {
					t.Error(err)
				}
				if first {
					firsts.Add(1)
				}
			})
			synctest.Wait()
		}
		syncs, g.took = 0, time.Minute
		first, second := g.setOut(), g.setOut()
		if come(first); syncs > 0 {
			t.Error("it did not wait for the update that was under way")
		}
		if come(second); syncs != 1 {
			t.Errorf("%d synchronisations for two updates", syncs)
		}
		all.Wait()

		g.took = time.Minute
		long, begun := g.setOut(), time.Now()
		come(g.setOut())
		all.Wait()
		if waited := time.Since(begun); waited != time.Minute {
			t.Errorf("it waited for %v for an update that takes long, not as long as a synchronisation takes", waited)
		}
		g.took, begun = time.Minute, time.Now()
		come(g.setOut())
		all.Wait()
		if waited := time.Since(begun); waited > 0 || syncs != 3 {
			t.Errorf("it waited for that once more, for %v; there were %d synchronisations", waited, syncs)
		}
		g.leave(long)
		g.took, begun = time.Minute, time.Now()
		come(g.setOut()) // it is alone
		if all.Wait(); time.Since(begun) > 0 {
			t.Errorf("a single update took %v", time.Since(begun))
		}
		if firsts.Load() != 4 || syncs != 4 {
			t.Errorf("%d updates were the first of their round, of %d", firsts.Load(), syncs)
		}
	})
}

// skipRaced skips a test that fills logs, which takes minutes with the race detector:
// make test runs it without.
func skipRaced(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("it takes minutes with the race detector")
	}
}
