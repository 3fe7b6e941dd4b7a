package badger

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"walt/fault"
	"walt/state"
)

func TestFloor(t *testing.T) {
	t.Parallel()
	b, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	free := uint64(1 << 40)
	dir := t.TempDir()
	b.space = newSpace(dir, dir)
	var log strings.Builder
	b.space.tells = slog.New(slog.NewTextHandler(&log, nil))
	b.space.free = func(string) (uint64, error) { return free, nil }
	spare := func() bool { _, err := os.Stat(filepath.Join(dir, "spare-0")); return err == nil }
	write := func() error {
		_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) })
		return err
	}
	if err := write(); err != nil || !spare() {
		t.Fatalf("a write with room enough: %v, spare file %v", err, spare())
	}
	free = floor - 1
	if f := fault.As(write()); f == nil || f.Hint == "" || !spare() {
		t.Fatalf("a write below the floor: %v, spare file %v", f, spare())
	}
	_, err = b.Update(t.Context(), func(tx state.Tx) error { _, err := tx.Get("a"); return err })
	if err != nil {
		t.Errorf("an update that only reads: %v", err)
	}
	if fault.As(write()) == nil {
		t.Error("a second write below the floor was taken")
	}
	free = floor + spareSize
	if err := write(); err != nil || !spare() {
		t.Errorf("with space again: %v, spare file %v", err, spare())
	}
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "nearly full") || !strings.Contains(got, "has room again") {
		t.Errorf("the log has:\n%s", got)
	}
}

// TestRemoved takes the files away under an open store, or puts others in their
// place: what is written to them is lost, so nothing is, and the store closes. What
// becomes a table is not taken for that.
func TestRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"all":         os.RemoveAll,
		"its records": func(dir string) error { return os.RemoveAll(filepath.Join(dir, badgerDir)) },
		"the logs": func(dir string) error {
			logs, err := findLogs(filepath.Join(dir, badgerDir))
			for _, l := range logs {
				err = errors.Join(err, os.Remove(l.path))
			}
			return err
		},
		"others are there": func(dir string) error {
			files := filepath.Join(dir, badgerDir)
			return errors.Join(os.Rename(files, files+"-old"), os.CopyFS(files, os.DirFS(files+"-old")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			b, err := Open(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			write := func(value []byte) error {
				_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", value) })
				return err
			}
			for range 3 * memTableSize >> 20 {
				if err := write(make([]byte, 1<<19)); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, b, merged) // no table is written later, into what is removed
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			if f := fault.As(write(nil)); f == nil || !strings.Contains(f.Msg, "was removed under the running server") {
				t.Errorf("a write is refused by %v", f)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFreeSpace(t *testing.T) {
	t.Parallel()
	if free, err := freeSpace(t.TempDir()); err != nil || free < 1<<20 {
		t.Errorf("%d bytes are free here, %v", free, err)
	}
	if _, err := freeSpace("/no such directory"); err == nil {
		t.Error("a directory that is not there has free space")
	}
}

// TestDamagedRecord stores records whose checksum is wrong: reading one fails,
// and so does a backup.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	whole := seal("a", []byte("value"))
	flipped := append([]byte(nil), whole...)
	flipped[2] ^= 1
	for name, record := range map[string][]byte{
		"changed": flipped, "short": whole[:3], "none": {}, "of another row": seal("b", []byte("value")),
	} {
		b, err := OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		txn := b.db.NewTransaction(true)
		if err := errors.Join(txn.Set([]byte("a"), record), txn.Commit()); err != nil {
			t.Fatal(err)
		}
		err = b.View(t.Context(), func(r state.Reader) error {
			if v, err := r.Get("a"); err == nil {
				t.Errorf("%s: Get returned %q", name, v)
			}
			for _, err := range r.Scan("", "") {
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || err.Error() != `state: the record of "a" is damaged` {
			t.Errorf("%s: Scan: %v", name, err)
		}
		if err := state.Backup(t.Context(), b, io.Discard); err == nil {
			t.Errorf("%s: was backed up", name)
		}
	}
}

// TestNoRoomForLogs opens a store on a disk that has room for a commit and not for a log:
// nothing is written until it has. The next start finds as much room as this one.
func TestNoRoomForLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logs := filepath.Join(dir, badgerDir)
	free := uint64(floor + 1<<20)
	space := newSpace(dir, logs)
	space.free = func(string) (uint64, error) { return free, nil }
	db, err := openClaimed(dir, space, newRounds(logs, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	reserved := func() bool {
		_, err := os.Stat(logPath(logs, 2))
		return err == nil
	}
	if f := fault.As(space.check()); f == nil || !strings.Contains(f.Msg, "33 MiB are free, 72 MiB are needed") || reserved() {
		t.Errorf("with room for a commit: %v, reserved %v", f, reserved())
	}
	free = 1 << 40
	if err := space.check(); err != nil || !reserved() {
		t.Errorf("with room again: %v, reserved %v", err, reserved())
	}
	if err := closeBadger(db, space); err != nil {
		t.Error(err)
	}
}

// TestStartFails has the disk fail in the last step of a start: the next one opens the
// store, with all that was in it.
func TestStartFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Store {
		b, err := Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) })
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	logs := filepath.Join(dir, badgerDir)
	disk := newRounds(logs, nil)
	disk.logs.msync = func([]byte, int) error { return unix.EIO }
	if _, err := openClaimed(dir, newSpace(dir, logs), disk, nil); fault.As(err) == nil || fault.As(err).Hint == "" || !strings.Contains(err.Error(), dir) {
		t.Errorf("a start whose disk fails: %v", err)
	}
	b = open()
	if err := b.View(t.Context(), func(r state.Reader) error { _, err := r.Get("a"); return err }); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
