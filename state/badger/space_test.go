package badger

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	free = floor + spareSize
	if err := write(); err != nil || !spare() {
		t.Errorf("with space again: %v, spare file %v", err, spare())
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
