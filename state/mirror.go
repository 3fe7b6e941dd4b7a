package state

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Mirror keeps what the rows of a table say in memory, for reads that are too many
// or too large to ask the store each time. It follows the store's commits and
// nothing else, so it is right whoever makes them. A transaction may see more than
// it does: what decides is read there.
type Mirror[T any] struct {
	store Store
	table Table[T]
	apply func(all bool, changes []Change[T])

	mu    sync.RWMutex // held while apply runs; read-locked by readers
	watch *Watch       // nil before the first read
}

// NewMirror returns a mirror of the table. Apply notes what one or more commits changed,
// of each row its last change, or, with all, every row that there is, in key order; it
// may keep what Row points to.
func NewMirror[T any](s Store, t Table[T], apply func(all bool, changes []Change[T])) *Mirror[T] {
	return &Mirror[T]{store: s, table: t, apply: apply}
}

// Read calls f, which must be quick, when every commit that was reported before
// has been applied. Nothing is applied before f returns.
func (m *Mirror[T]) Read(ctx context.Context, f func()) error {
	m.mu.RLock()
	if m.watch != nil && !m.watch.behind() {
		defer m.mu.RUnlock()
		f()
		return nil
	}
	m.mu.RUnlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.follow(ctx); err != nil {
		return err
	}
	f()
	return nil
}

// breath is for how long Run lets commits gather. Of rows that change again and again
// it decodes only the last change.
const breath = 50 * time.Millisecond

// Run applies commits soon after they come, so that nobody who reads waits for many, until
// ctx ends.
func (m *Mirror[T]) Run(ctx context.Context) error {
	for {
		var watch *Watch
		err := m.Read(ctx, func() { watch = m.watch })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
			watch.gather(ctx, breath)
		}
	}
}

// follow applies all commits that are known by now.
func (m *Mirror[T]) follow(ctx context.Context) error {
	if m.watch == nil {
		w := m.store.Watch(m.table.prefix)
		w.hold(maxMirrored)
		if err := m.load(ctx); err != nil {
			w.Close()
			return err
		}
		m.watch = w
	}
	var pending []Row
	for {
		b, ok, err := m.watch.Take()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		pending = append(pending, b.Rows...)
		if b.Overflow {
			pending = nil
			if err := m.load(ctx); err != nil {
				return m.restart(err)
			}
		}
	}
	if len(pending) == 0 {
		return nil
	}
	changes, err := m.table.Changes(Batch{Rows: lastOf(pending)})
	if err != nil {
		return m.restart(err)
	}
	m.apply(false, changes)
	return nil
}

// lastOf returns the last of the changes of each row, in the order of these.
func lastOf(rows []Row) []Row {
	if len(rows) == 1 {
		return rows
	}
	later := make(map[string]bool, len(rows))
	first := len(rows)
	for i, row := range slices.Backward(rows) {
		if !later[row.Key] {
			later[row.Key] = true
			first--
			rows[first] = rows[i]
		}
	}
	return rows[first:]
}

// load applies every row. Commits that it saw may be applied once more later.
func (m *Mirror[T]) load(ctx context.Context) error {
	all, err := Read(ctx, m.store, func(r Reader) (all []Change[T], err error) {
		for e, err := range m.table.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			row := e.Value // alone: who keeps it does not keep the key
			all = append(all, Change[T]{e.Key, &row})
		}
		return all, nil
	})
	if err == nil {
		m.apply(true, all)
	}
	return err
}

// restart has the next read load everything, since something was missed.
func (m *Mirror[T]) restart(err error) error {
	m.watch.Close()
	m.watch = nil
	return err
}
