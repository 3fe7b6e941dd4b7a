package badger_test

import (
	"testing"

	"walt/state"
	"walt/state/badger"
	"walt/state/statetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	t.Run("disk", func(t *testing.T) {
		statetest.Test(t, func(t *testing.T) state.Store { return open(t, t.TempDir()) })
	})
	t.Run("memory", func(t *testing.T) {
		statetest.Test(t, func(t *testing.T) state.Store { return memory(t) })
	})
}

func open(t testing.TB, dir string) *badger.Store {
	t.Helper()
	b, err := badger.Open(dir, nil)
	return opened(t, b, err)
}

func memory(t testing.TB) *badger.Store {
	t.Helper()
	b, err := badger.OpenMemory()
	return opened(t, b, err)
}

func opened(t testing.TB, b *badger.Store, err error) *badger.Store {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
