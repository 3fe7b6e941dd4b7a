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
	waitFor(t, b, merged)
	waitFor(t, b, func(int, int) bool { return tablesSize(t, b) < 2*memTableSize })

	b.tables.close()
	b.tables = &compaction{full: make(chan struct{}, 1), stop: make(chan struct{})} // does nothing
	change(b, mergeFrom+1)
	waitFor(t, b, func(logs, _ int) bool {
		all, err := findLogs(b.space.logs) // the next one is reserved
		return logs == 1 && len(all) <= 2 && err == nil
	})
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
	waitFor(t, b, merged)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreMuch restores more rows than badger takes without a merge.
func TestRestoreMuch(t *testing.T) {
	t.Parallel()
	skipRaced(t)
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

// merged is when nothing is left to merge.
func merged(logs, tables int) bool { return logs == 1 && tables < mergeFrom }

// waitFor waits until there are as many logs, and tables that are not merged, as ok
// says.
func waitFor(t *testing.T, b *Store, ok func(logs, tables int) bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		logs, err := usedLogs(b.space.logs)
		if err != nil {
			t.Fatal(err)
		}
		tables := b.db.Levels()[0].NumTables
		if ok(len(logs), tables) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are still %d logs, %d tables that are not merged, and %d bytes of tables", len(logs), tables, tablesSize(t, b))
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
