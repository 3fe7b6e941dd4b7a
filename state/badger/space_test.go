package badger

import (
	"errors"
	"io"
	"testing"
	"time"

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
	free, looks, now := uint64(1<<40), 0, time.Unix(0, 0)
	b.space = &space{
		dir:  "/lab",
		free: func(string) (uint64, error) { looks++; return free, nil },
		now:  func() time.Time { return now },
	}
	write := func() error {
		_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", nil) })
		return err
	}
	if err := errors.Join(write(), write()); err != nil || looks != 1 {
		t.Fatalf("two writes at once looked %d times, %v", looks, err)
	}
	free, now = floor-1, now.Add(time.Second)
	if f := fault.As(write()); f == nil || f.Hint == "" {
		t.Fatalf("a write below the floor: %v", f)
	}
	_, err = b.Update(t.Context(), func(tx state.Tx) error { _, err := tx.Get("a"); return err })
	if err != nil {
		t.Errorf("an update that only reads: %v", err)
	}
	free, now = floor, now.Add(time.Second)
	if err := write(); err != nil {
		t.Errorf("with space again: %v", err)
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
