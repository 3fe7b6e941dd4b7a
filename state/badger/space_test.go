package badger

import (
	"errors"
	"io"
	"os"
	"path/filepath"
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
