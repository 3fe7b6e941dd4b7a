package badger

import (
	"strings"
	"testing"
)

// A server that is killed has its store for a moment longer: the next one waits for it,
// and for one that stays no more often than it is to.
func TestClaimWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dying, err := tryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	_, err = claimAgain(dir, func() bool { tries++; return tries < 3 })
	if err == nil || !strings.Contains(err.Error(), "in use by another server") || tries != 3 {
		t.Errorf("a server that stays: %v, after %d tries", err, tries)
	}
	lock, err := claimAgain(dir, func() bool { return release(dying) == nil })
	if err != nil {
		t.Fatalf("a server that goes: %v", err)
	}
	if err := release(lock); err != nil {
		t.Error(err)
	}
}
