package badger_test

import (
	"path/filepath"
	"strings"
	"testing"

	"walt/state/badger"
)

// Who has locked a store keeps servers from opening it, and a server that has it open
// keeps others from locking it.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if unlock, running, err := badger.Lock(filepath.Join(dir, "none")); unlock != nil || running || err != nil {
		t.Errorf("no store: running is %v, %v", running, err)
	}
	unlock, running, err := badger.Lock(dir)
	if unlock == nil || running || err != nil {
		t.Fatalf("a store that nobody has open: running is %v, %v", running, err)
	}
	if _, err := badger.Open(dir, nil); err == nil || !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("it opens: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	s := open(t, dir)
	if unlock, running, err := badger.Lock(dir); unlock != nil || !running || err != nil {
		t.Errorf("a server has it open: running is %v, %v", running, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
