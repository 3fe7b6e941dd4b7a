package nodes

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
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
		return l.Acquire(t.Context(), "bob", parse("all-nodes"), Remarks{}, consent.Agreement{})
	})
	step("take", "carol", func() (Result, error) {
		return l.Acquire(t.Context(), "carol", parse("n-*"), Remarks{}, consent.Agreement{Whoever: true})
	})
	step("release", auth.Nobody, func() (Result, error) {
		return l.Release(t.Context(), "carol", parse("my-nodes"))
	})

	var names [][]string
	ok(t, l.Journal.History(t.Context(), journal.At(l.Now().AddDate(-1, 0, 0)), journal.At(l.Now().AddDate(1, 0, 0)), nil, journal.Each(func(e journal.Event) error {
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

func (t *tightTx) Room() state.Limit {
	room := t.Tx.Room()
	room.Rows = t.left
	return room
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
		name  string
		least int // that fit: a node takes three rows, and when it is forgotten more
		do    func(Set) error
	}{
		{"acquire", 120, func(s Set) error {
			_, err := l.Acquire(t.Context(), "bob", s, Remarks{}, consent.Agreement{})
			return err
		}},
		{"forget", 30, func(s Set) error {
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
		if err := do(parse(strings.Join(some, ","))); err != nil || most < c.least {
			t.Errorf("%s: %d nodes: %v", name, most, err)
		}
		before = rowsOf(t, l.Store)
	}
}

// Of nodes that are too many to be taken, no more are read than are needed to tell how many
// fit, and nobody is asked about them.
func TestTooManyAreNotRead(t *testing.T) {
	t.Parallel()
	const n, rows = 2000, 300
	l := newLab(t, []auth.Name{"bob"})
	l.populate(t, n)
	counted := &countedReads{Store: l.Store}
	l.Store = tight{counted, rows}
	ok(t, l.view.Read(t.Context(), func() {}))
	refused := func(what string, most int, err error) {
		t.Helper()
		f := fault.As(err)
		if f == nil || !strings.HasPrefix(f.Msg, "too much for one command") || !strings.HasPrefix(f.Hint, "name fewer at a time: ") {
			t.Errorf("%s: %+v", what, f)
		}
		if counted.n > most {
			t.Errorf("%s: %d rows were read, want %d at most", what, counted.n, most)
		}
		counted.n = 0
	}
	counted.n = 0
	_, err := l.Acquire(t.Context(), "bob", parse("free-nodes"), Remarks{}, consent.Agreement{})
	refused("free nodes", n+10*rows/3, err) // the names of all, and a few rows of each that could fit
	_, err = l.AcquireAny(t.Context(), "bob", Some{N: n}, Remarks{})
	refused("any", 10*rows/3, err)
}

// A reboot of nodes that have no port is one look at each, and one note for the log.
func TestRebootOfManyWithoutPorts(t *testing.T) {
	t.Parallel()
	const n = 100
	l := newLab(t, []auth.Name{"bob"})
	l.populate(t, n)
	counted := &countedReads{Store: l.Store}
	var updates atomic.Int64
	l.Store = watched{counted, &updates, func(int64) {}}
	outcomes := map[RebootOutcome]int{}
	ok(t, l.Reboot(t.Context(), "bob", parse("all-nodes"), false, consent.Agreement{}, func(ch Change) { outcomes[ch.Reboot.Outcome]++ }))
	if outcomes[RebootNone] != n {
		t.Errorf("%v", outcomes)
	}
	if most := 6*n + 20; counted.n > most {
		t.Errorf("%d rows were read of %d nodes, want %d", counted.n, n, most)
	}
	if n := updates.Load(); n != 2 {
		t.Errorf("%d transactions", n)
	}
	l.Store = counted.Store
	if events := l.events(t, journal.Power); len(events) != n || !strings.Contains(events[0], "reboot: none") {
		t.Errorf("the log tells %q", events)
	}
}

// watched is a store that calls before in front of each update, with its number.
type watched struct {
	state.Store
	count  *atomic.Int64
	before func(number int64)
}

func (s watched) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	s.before(s.count.Add(1))
	return s.Store.Update(ctx, f)
}

// TestReleaseInParts gives more nodes back than one transaction takes.
func TestReleaseInParts(t *testing.T) {
	t.Parallel()
	const n, part = 300, 100
	l := newLab(t, []auth.Name{"bob", "carol"})
	l.populate(t, n)
	whole := l.Store
	acquire := func() {
		t.Helper()
		l.works.Wait() // they use the store
		l.Store = whole
		_, err := l.Acquire(t.Context(), "bob", parse("free-nodes"), Remarks{}, consent.Agreement{})
		ok(t, err)
		l.Store = tight{whole, 400}
	}
	freed := func(what string, got Result, err error, want int) {
		t.Helper()
		ok(t, err)
		var names []Name
		for _, c := range got.Changes {
			if c.Changed {
				names = append(names, c.Node)
			}
		}
		if owned := l.owned(t, auth.Nobody); len(names) != want || len(owned) != n || slices.Contains(names, "") || len(slices.Compact(slices.Sorted(slices.Values(names)))) != want {
			t.Errorf("%s: %d nodes were given back, and %d are free; want %d", what, len(names), len(owned), want)
		}
	}

	acquire()
	got, err := l.Release(t.Context(), "bob", parse("my-nodes"))
	freed("release", got, err, n)
	acquire()
	got, err = l.SetImage(t.Context(), "bob", parse("n-*"), "default", Remarks{}, consent.Agreement{})
	freed("boot", got, err, n)

	// Ctrl-C in front of the third part: what is told is so, and the hint finishes it.
	for set, hint := range map[string]string{"my-nodes": "go on with: node release my-nodes", "n-*": "go on with: node boot n-* default"} {
		acquire()
		ctx, cancel := context.WithCancel(t.Context())
		l.Store = watched{l.Store, new(atomic.Int64), func(number int64) {
			if number == 3 {
				cancel()
			}
		}}
		_, err := l.Release(ctx, "bob", parse(set))
		f, free, mine := fault.As(err), len(l.owned(t, auth.Nobody)), len(l.owned(t, "bob"))
		want := fmt.Sprintf("interrupted: %d nodes are free, and go on rebooting; %d are not yet", free, mine)
		if f == nil || f.Kind != fault.Interrupted || f.Msg != want || f.Hint != hint || free < 2*part || mine == 0 {
			t.Fatalf("%s: got %v %+v, want %q %q", set, err, f, want, hint)
		}
		if set == "my-nodes" {
			got, err = l.Release(t.Context(), "bob", parse(set))
		} else {
			got, err = l.SetImage(t.Context(), "bob", parse(set), "default", Remarks{}, consent.Agreement{})
		}
		freed("after that, "+set, got, err, mine)
	}

	// A node that changes hands between two parts is left alone.
	acquire()
	l.Store = watched{l.Store, new(atomic.Int64), func(number int64) {
		if number == 2 {
			_, err := l.Acquire(t.Context(), "carol", Only("n-299"), Remarks{}, consent.Agreement{Whoever: true})
			ok(t, err)
		}
	}}
	got, err = l.Release(t.Context(), "bob", parse("my-nodes"))
	ok(t, err)
	if carols := l.owned(t, "carol"); len(got.Changes) != n-1 || len(carols) != 1 || len(l.owned(t, auth.Nobody)) != n-1 {
		t.Errorf("%d nodes were given back, %d are carol's", len(got.Changes), len(carols))
	}
	l.works.Wait()
}

// owned returns the nodes of an owner.
func (l testLab) owned(t *testing.T, owner auth.Name) []Device {
	t.Helper()
	all, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]Device, error) { return ownedBy(r, owner) })
	ok(t, err)
	return all
}

// TestGlobIsComplete adds a node while another transaction acquires by a glob that
// matches it: the glob is for both, or the node came later.
func TestGlobIsComplete(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n-1", "n-2", "other")
	runs := 0
	_, err := l.change(t.Context(), "bob", consent.Agreement{}, func(c *change) error {
		ds, err := parse("n-*").expand(l.stored(t.Context(), c.tx), "bob", nodeScope)
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
