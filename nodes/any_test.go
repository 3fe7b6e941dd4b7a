package nodes

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/state"
)

// The nodes that are of use at once come first; among equals, the one that was
// used the longest ago.
func TestAcquireAnyTakesTheReadiest(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "a1", "a2", "a3", "a4", "a5")
	l.grid.dead = true
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m1", Host: Simulated})
	ok(t, err)
	l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
	l.node(t, "a6", "m1")
	l.configure(t, "a6", "switch=sw-1", "port=1")
	l.status.change("a1", func(s *Status) { s.State, s.Why = Unreachable, "it does not answer" })
	l.Boot(t.Context(), "a3")
	for _, n := range []Name{"a4", "a5"} {
		l.Up(n, "127.0.0.1:1")
	}
	_, err = l.Acquire(t.Context(), "carol", parse("a4"), Remarks{}, consent.Agreement{})
	ok(t, err)
	_, err = l.Release(t.Context(), "carol", parse("a4"))
	ok(t, err)
	l.Up("a4", "127.0.0.1:1")

	var given, unreachable []Name
	for range 7 {
		r, err := l.AcquireAny(t.Context(), "bob", Some{N: 1}, Remarks{})
		ok(t, err)
		given, unreachable = append(given, r.Changes[0].Node), append(unreachable, r.Unreachable...)
	}
	equal(t, "given", given, "a5", "a4", "a3", "v1", "a6", "a2", "a1")
	equal(t, "unreachable", unreachable, "a1")
}

// A node that the view tells of, and that was not free yet when the transaction
// began, is no reason to find fewer than there are.
func TestAcquireAnyLooksFurther(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		l := newLab(t, []auth.Name{"bob", "carol"}, "a1")
		l.grid.dead = true
		_, err := l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m1", Host: Simulated})
		ok(t, err)
		_, err = l.Acquire(t.Context(), "carol", parse("v1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		_, err = l.Store.Update(t.Context(), func(tx state.Tx) error {
			if _, err := get(tx, "v1"); err != nil {
				return err
			}
			_, err := l.Release(t.Context(), "carol", parse("v1"))
			ok(t, err)
			if up {
				l.comeUp(t, "v1")
			}
			_, err = l.Acquire(t.Context(), "carol", parse("a1"), Remarks{}, consent.Agreement{})
			ok(t, err)
			_, err = l.Release(t.Context(), "carol", parse("a1")) // used later than v1
			ok(t, err)
			found, err := (&change{lab: l.Lab, tx: tx}).someFree(t.Context(), 1, nil)
			if err == nil && (len(found) != 1 || found[0].Name != "a1") {
				t.Errorf("up %v: found %+v", up, found)
			}
			return err
		})
		ok(t, err)
	}
}

// Who wants any node waits for the same reads whether few are free or many, whatever
// these are doing.
func TestAcquireAnyReadsFew(t *testing.T) {
	t.Parallel()
	reads := map[string]map[int]int{}
	for _, n := range []int{100, 2000} {
		l := newLab(t, []auth.Name{"bob"})
		l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
		l.populate(t, n)
		counted := &countedReads{Store: l.Store}
		l.Store = counted
		last := Name(fmt.Sprintf("n-%d", n-1))
		given := func(what string, wanted Name) {
			t.Helper()
			ok(t, l.view.Read(t.Context(), func() {}))
			counted.n = 0
			r, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m1"}, Remarks{})
			ok(t, err)
			equal(t, what, []Name{r.Changes[0].Node}, wanted)
			if reads[what] == nil {
				reads[what] = map[int]int{}
			}
			reads[what][n] = counted.n
		}
		given("off", "n-0")
		l.configure(t, last, "switch=sw-1", "port=1")
		given("with a port", last)
		l.Up("n-50", "127.0.0.1:1")
		given("up", "n-50")
		for i := range n {
			l.status.change(Name(fmt.Sprintf("n-%d", i)), func(s *Status) { s.State = Unreachable })
		}
		given("unreachable", "n-1")
	}
	for what, by := range reads {
		if by[2000] > by[100]*3/2 {
			t.Errorf("%s: it took %d reads with 2000 nodes, %d with 100", what, by[2000], by[100])
		}
	}
}

// countedReads is a store that counts what is read.
type countedReads struct {
	state.Store
	n int // rows
}

func (s *countedReads) View(ctx context.Context, f func(state.Reader) error) error {
	return s.Store.View(ctx, func(r state.Reader) error { return f(countedReader{r, &s.n}) })
}

func (s *countedReads) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	return s.Store.Update(ctx, func(tx state.Tx) error { return f(countedTx{tx, countedReader{tx, &s.n}}) })
}

type countedReader struct {
	state.Reader
	n *int
}

func (r countedReader) Get(key string) ([]byte, error) {
	*r.n++
	return r.Reader.Get(key)
}

func (r countedReader) Scan(prefix, start string) iter.Seq2[state.Row, error] {
	return func(yield func(state.Row, error) bool) {
		for row, err := range r.Reader.Scan(prefix, start) {
			if *r.n++; !yield(row, err) {
				return
			}
		}
	}
}

func (r countedReader) Keys(prefix, start string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for key, err := range r.Reader.Keys(prefix, start) {
			if *r.n++; !yield(key, err) {
				return
			}
		}
	}
}

type countedTx struct {
	state.Tx
	reader countedReader
}

func (t countedTx) Get(key string) ([]byte, error) { return t.reader.Get(key) }

func (t countedTx) Scan(prefix, start string) iter.Seq2[state.Row, error] {
	return t.reader.Scan(prefix, start)
}

func (t countedTx) Keys(prefix, start string) iter.Seq2[string, error] {
	return t.reader.Keys(prefix, start)
}

// A node that is up counts once.
func TestAcquireAnyCountsOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "a1")
	l.comeUp(t, "a1")
	if r, err := l.AcquireAny(t.Context(), "bob", Some{N: 2}, Remarks{}); fault.As(err) == nil {
		t.Errorf("two of one: %+v, %v", r, err)
	}
}
