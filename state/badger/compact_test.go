package badger

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"walt/state"
)

// manyLogs is how many full logs badger does not take before it waits for tables to
// be merged.
const manyLogs = stallFrom + 2 + 2

// TestManyChanges changes two rows so often that badger waits for tables to be merged:
// they are, and take no more room than two rows must. What a kill left unmerged is
// merged at the next start.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	value := make([]byte, limit.Value)
	change := func(b *Store, logs int) {
		t.Helper()
		for i := range logs * memTableSize / len(value) {
			within(t, func() error {
				_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put(fmt.Sprint("row/", i%2), value) })
				return err
			})
		}
	}
	dir := t.TempDir()
	b, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	change(b, manyLogs)
	waitMerged(t, b)
	if size := tablesSize(t, b); size > 2*memTableSize {
		t.Errorf("two rows of %d bytes take %d after many changes", len(value), size)
	}

	b.tables.close()
	b.tables = &compaction{full: make(chan struct{}, 1), stop: make(chan struct{})} // does nothing
	change(b, stallFrom)
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(killed, nil); err != nil {
		t.Fatal(err)
	}
	waitMerged(t, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreMuch restores more rows than badger takes without a merge.
func TestRestoreMuch(t *testing.T) {
	t.Parallel()
	value := make([]byte, limit.Value)
	backup, in := io.Pipe()
	go func() { // ends with the last row, or when nobody reads
		in.CloseWithError(state.WriteBackup(context.Background(), func(yield func(state.Row, error) bool) {
			for i := range manyLogs * memTableSize / len(value) {
				if !yield(state.Row{Key: fmt.Sprintf("row/%03d", i), Value: value}, nil) {
					return
				}
			}
		}, in))
	}()
	within(t, func() error { return Restore(filepath.Join(t.TempDir(), "restored"), backup) })
}

// within fails the test when f fails or takes for ever.
func within(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it waits for ever")
	}
}

// waitMerged waits until nothing is left to merge.
func waitMerged(t *testing.T, b *Store) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		logs, err := usedLogs(b.space.logs)
		if err != nil {
			t.Fatal(err)
		}
		tables := b.db.Levels()[0].NumTables
		if len(logs) == 1 && tables < mergeFrom {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are still %d logs and %d tables that are not merged", len(logs), tables)
		}
	}
}

func tablesSize(t *testing.T, b *Store) (sum int64) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(b.space.logs, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		info, err := os.Stat(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err == nil {
			sum += info.Size()
		}
	}
	return sum
}
