package nodes

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// populate adds so many free nodes, n-0 and so on, with all that the record of a node
// that was used has.
func (l testLab) populate(t testing.TB, n int) {
	t.Helper()
	def := defaultOf("m1")
	for from := 0; from < n; from += 1000 {
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
			for i := from; i < min(n, from+1000); i++ {
				err := put(tx, Device{
					Name: Name(fmt.Sprintf("n-%d", i)), MAC: ethernet.MAC(fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16, i>>8&255, i&255)),
					Kind: Node, Model: "m1", Image: def.Ref, Since: l.Now().UTC(), Booted: def.Ref, Digest: def.Digest,
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		ok(t, err)
	}
}

// TestTenThousandNodes are taken by one user, from that user by another, and released,
// each time in one transaction: the log has one event, and the first owner one notice.
func TestTenThousandNodes(t *testing.T) {
	t.Parallel()
	const n = 10_000
	l := newLab(t, []auth.Name{"bob", "carol"})
	l.populate(t, n)
	w := l.Store.Watch(devices.Prefix(""))
	defer w.Close()
	step := func(what string, user auth.Name, do func() (Result, error)) {
		t.Helper()
		result, err := do()
		ok(t, err)
		owned, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]Device, error) { return ownedBy(r, user) })
		ok(t, err)
		if len(result.Changes) != n || len(owned) != n {
			t.Errorf("%s: %d nodes changed hands, %d are %s's", what, len(result.Changes), len(owned), user)
		}
		if b, _, err := w.Take(); err != nil || len(b.Rows) != n {
			t.Errorf("%s: %d rows changed in the first transaction, %v", what, len(b.Rows), err)
		}
		if _, more, _ := w.Take(); more {
			t.Errorf("%s: more than one transaction", what)
		}
	}
	step("acquire", "bob", func() (Result, error) {
		return l.Acquire(t.Context(), "bob", parse("all-nodes"), consent.Agreement{})
	})
	step("take", "carol", func() (Result, error) {
		return l.Acquire(t.Context(), "carol", parse("n-*"), consent.Agreement{Whoever: true})
	})
	step("release", auth.Nobody, func() (Result, error) {
		return l.Release(t.Context(), "carol", parse("my-nodes"))
	})

	var names [][]string
	ok(t, l.Journal.History(t.Context(), journal.At(l.Now().AddDate(-1, 0, 0)), journal.At(l.Now().AddDate(1, 0, 0)), journal.Each(func(e journal.Event) error {
		if e.Type == journal.Ownership {
			names = append(names, e.About())
		}
		return nil
	})))
	if len(names) != 3 || len(names[0]) != n || len(names[1]) != n || len(names[2]) != n || names[0][n-1] != "n-9999" {
		t.Errorf("the log tells of ownership in %d events", len(names))
	}
	notices, err := l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)
	if want := "carol took 10000 of your nodes: n-0, n-1, n-2, n-3, n-4 and 9995 others"; len(notices) != 1 || notices[0] != want {
		t.Errorf("bob is told %q", notices)
	}
}

// tight is a store whose transactions write fewer rows.
type tight struct {
	state.Store
	rows int
}

func (s tight) Limit() state.Limit {
	l := s.Store.Limit()
	l.Rows = s.rows
	return l
}

func (s tight) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	return s.Store.Update(ctx, func(tx state.Tx) error { return f(&tightTx{tx, s.rows}) })
}

type tightTx struct {
	state.Tx
	left int
}

func (t *tightTx) Put(key string, value []byte) error {
	if t.left--; t.left < 0 {
		return state.ErrTooBig
	}
	return t.Tx.Put(key, value)
}

func (t *tightTx) Delete(key string) error {
	if t.left--; t.left < 0 {
		return state.ErrTooBig
	}
	return t.Tx.Delete(key)
}

// TestTooMany names more nodes than one transaction takes: it changes nothing, and as
// many as the hint says do fit.
func TestTooMany(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.populate(t, 200)
	l.Store = tight{l.Store, 400}
	before := rowsOf(t, l.Store)
	fits := regexp.MustCompile(`^name fewer at a time: (\d+) of these fit$`)
	for _, c := range []struct { // forgotten nodes cannot be acquired
		name string
		do   func(Set) error
	}{
		{"acquire", func(s Set) error {
			_, err := l.Acquire(t.Context(), "bob", s, consent.Agreement{})
			return err
		}},
		{"forget", func(s Set) error {
			_, err := l.Forget(t.Context(), "alice", s, consent.Agreement{Whoever: true})
			return err
		}},
	} {
		name, do := c.name, c.do
		err := do(parse("all-nodes"))
		f := fault.As(err)
		if f == nil || f.Msg != "too much for one command: it changes more than 400 rows or 5.0 MB of the store; nothing changed" || !fits.MatchString(f.Hint) {
			t.Fatalf("%s: got %v %+v", name, err, f)
		}
		if !slices.Equal(rowsOf(t, l.Store), before) {
			t.Errorf("%s: rows were changed", name)
		}
		var some []string
		var most int
		fmt.Sscan(fits.FindStringSubmatch(f.Hint)[1], &most)
		for i := range most {
			some = append(some, fmt.Sprintf("n-%d", i))
		}
		if err := do(parse(strings.Join(some, ","))); err != nil || most < 20 {
			t.Errorf("%s: %d nodes: %v", name, most, err)
		}
		before = rowsOf(t, l.Store)
	}
}

// TestGlobIsComplete adds a node while another transaction acquires by a glob that
// matches it: the glob is for both, or the node came later.
func TestGlobIsComplete(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n-1", "n-2", "other")
	runs := 0
	_, err := l.change(t.Context(), "bob", consent.Agreement{}, func(c *change) error {
		ds, err := parse("n-*").expand(stored{c.tx}, "bob", nodeScope)
		if err != nil {
			return err
		}
		if runs++; runs == 1 {
			l.node(t, "n-3", "m1")
		}
		return c.take(ds, "bob")
	})
	ok(t, err)
	if got := l.owners(t, "n-1", "n-2", "n-3", "other"); runs != 2 || !slices.Equal(got, []auth.Name{"bob", "bob", "bob", auth.Nobody}) {
		t.Errorf("after %d runs the owners are %v", runs, got)
	}
}

// rowsOf are all rows of a store.
func rowsOf(t *testing.T, s state.Store) []string {
	t.Helper()
	all, err := state.Read(t.Context(), s, func(r state.Reader) (all []string, err error) {
		for row, err := range r.Scan("", "") {
			if err != nil {
				return nil, err
			}
			all = append(all, row.Key+"="+string(row.Value))
		}
		return all, nil
	})
	ok(t, err)
	return all
}
