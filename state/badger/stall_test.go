package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/state"
)

// TestNoNewFiles has the disk refuse the tables that badger makes of logs: changes are refused
// instead of waiting for ever, until it takes them again.
func TestNoNewFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var inTheWay []string
	for i := range 1000 { // one for each time that badger tries, once a second
		file := filepath.Join(dir, badgerDir, fmt.Sprintf("%06d.sst", i+1))
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		inTheWay = append(inTheWay, file)
	}
	value := make([]byte, limit.Value)
	write := func() error {
		_, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Put("a", value) })
		return err
	}
	for written := 0; err == nil && written < memTableSize+memTableSize/2; written += len(value) {
		err = write()
	}
	refused := func() bool {
		b.space.mu.Lock()
		defer b.space.mu.Unlock()
		return b.space.fails != nil
	}
	for deadline := time.Now().Add(2 * time.Minute); !refused(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("badger made a table of the first log")
		}
	}
	err = write()
	if f := fault.As(err); f == nil || f.Hint == "" || !strings.Contains(f.Msg, "takes no new files") {
		t.Fatalf("refused by %v", err)
	}
	for _, file := range inTheWay {
		err = errors.Join(err, os.Remove(file))
	}
	waitFor(t, b, func(logs, _ int) bool { return logs == 1 })
	if err := write(); err != nil {
		t.Errorf("when it takes them again: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
