package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"walt/state"
	"walt/state/badger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newJournal is a journal in memory. Inside synctest.Test its clock stands
// still until the test sleeps.
func newJournal(t testing.TB) *Journal {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	return New(store, time.Now)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (j *Journal) add(t testing.TB, details ...string) {
	t.Helper()
	for _, d := range details {
		ok(t, j.Add(t.Context(), Event{Type: Power, Detail: d}))
	}
}

// history returns the details of the events.
func (j *Journal) history(t testing.TB, from, until time.Time) (details []string) {
	t.Helper()
	ok(t, j.History(t.Context(), At(from), At(until), nil, Each(func(e Event) error {
		details = append(details, e.Detail)
		return nil
	})))
	return details
}

func (j *Journal) all(t testing.TB) []string {
	return j.history(t, time.Time{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
}

func want(t testing.TB, what string, got []string, wanted ...string) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: got %q, want %q", what, got, wanted)
	}
}

func TestEventsOfOneInstantKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		_, err := j.store.Update(t.Context(), func(tx state.Tx) error {
			for i := range 20 {
				ok(t, j.Record(tx, Event{Detail: fmt.Sprint(i)}))
			}
			return nil
		})
		ok(t, err)
		var wanted []string
		for i := range 20 {
			wanted = append(wanted, fmt.Sprint(i))
		}
		want(t, "history", j.all(t), wanted...)
	})
}

func TestEventIsKeptWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		e := Event{Type: Ownership, Actor: "alice", Node: "rpi-1", From: "bob", To: "alice", Detail: "why"}
		ok(t, j.Add(t.Context(), e))
		e.Time = time.Now().UTC()
		ok(t, j.History(t.Context(), At(e.Time), At(e.Time.Add(1)), nil, Each(func(got Event) error {
			if !reflect.DeepEqual(got, e) {
				t.Errorf("got %+v, want %+v", got, e)
			}
			return nil
		})))
	})
}

func TestEventFailsWithItsTransaction(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	refused := errors.New("refused")
	_, err := j.store.Update(t.Context(), func(tx state.Tx) error { return errors.Join(j.Record(tx, Event{}), refused) })
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	want(t, "history", j.all(t))
}

func TestHistoryIsFromOneInstantUntilBeforeAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		start := time.Now()
		for _, d := range []string{"0", "1", "2", "3"} {
			j.add(t, d)
			time.Sleep(time.Second)
		}
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		want(t, "all", j.all(t), "0", "1", "2", "3")
		want(t, "from 1 until 3", j.history(t, at(1), at(3)), "1", "2")
		want(t, "just after 1", j.history(t, at(1).Add(1), at(2)))
		want(t, "backwards", j.history(t, at(3), at(1)))
		want(t, "before 1970", j.history(t, time.Time{}, time.Date(1969, 7, 20, 0, 0, 0, 0, time.UTC)))
		elsewhere := time.FixedZone("elsewhere", -5*60*60)
		want(t, "another time zone", j.history(t, at(1).In(elsewhere), at(2).In(elsewhere)), "1")
	})
}

func TestHistoryOfManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		var wanted []string
		for i := range 2 * historyPage {
			wanted = append(wanted, fmt.Sprint(i))
		}
		j.add(t, wanted...)
		want(t, "history", j.all(t), wanted...)
	})
}

func TestHistoryEndsWhenShowFails(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	j.add(t, "a", "b")
	gone, shown := errors.New("gone"), 0
	err := j.History(t.Context(), At(time.Time{}), At(time.Now().Add(time.Hour)), nil, Each(func(Event) error { shown++; return gone }))
	if !errors.Is(err, gone) || shown != 1 {
		t.Errorf("got %v after %d events", err, shown)
	}
}

// TestSlowReaderHoldsNothingUp closes the store while a reader of the history
// shows an event.
func TestSlowReaderHoldsNothingUp(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	j.add(t, "a")
	ok(t, j.History(t.Context(), At(time.Time{}), At(time.Now().Add(time.Hour)), nil, Each(func(Event) error { return j.store.Close() })))
}

// trim deletes the oldest of each kind beyond the newest of so many.
func (j *Journal) trim(ctx context.Context, keep, states, refused int) error {
	tr := &trimmer{journal: j, keep: [kinds]int{keep, states, refused}}
	if err := tr.count(ctx, Mark{key: forever}); err != nil {
		return err
	}
	for k := range kinds {
		for tr.held[k] > tr.keep[k] && tr.oldest[k] == 0 {
			if err := tr.drop(ctx, k, min(trimStep, tr.held[k]-tr.keep[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestTrimFollows has a journal that is trimmed as it grows, from what it was before on:
// each kind is bounded by itself, and repeats of refused logins, which replace what may
// have been trimmed, are counted right.
func TestTrimFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		grow := func(kind string, n int) {
			for i := range n {
				switch time.Sleep(time.Millisecond); kind {
				case "states":
					ok(t, j.Add(t.Context(), Event{Type: State, Detail: kind}))
				case "refused":
					j.refuse(t, fmt.Sprint("host", i), "root")
				default:
					j.add(t, kind)
				}
			}
		}
		held := func() (held [kinds]int) {
			synctest.Wait()
			tr := &trimmer{journal: j}
			ok(t, tr.count(t.Context(), Mark{key: forever}))
			return tr.held
		}
		grow("old", 3*trimPage)
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trimmer{journal: j, keep: [kinds]int{50, 20, 10}}
		done := make(chan error)
		go func() { done <- tr.follow(ctx) }() // ends with ctx
		time.Sleep(time.Minute)
		if h := held(); h[ordinary] < 50 || h[ordinary] >= 50+trimStep {
			t.Errorf("of those that were there before %d are kept", h[ordinary])
		}
		for range 3 {
			grow("states", 2*trimStep)
			grow("refused", 2*trimStep)
			grow("new", 2*trimStep)
			time.Sleep(time.Second)
		}
		exactly := held()
		for k, most := range tr.keep {
			if exactly[k] < most || exactly[k] >= most+trimStep {
				t.Errorf("of kind %d %d are kept, not %d and a few more", k, exactly[k], most)
			}
		}
		if exactly != tr.held {
			t.Errorf("there are %v, and it counts %v", exactly, tr.held)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTrimKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		var all []string
		for i := range 2*trimStep + 7 {
			all = append(all, fmt.Sprint(i))
		}
		j.add(t, all...)
		ok(t, j.trim(t.Context(), len(all), 0, 0))
		want(t, "nothing to trim", j.all(t), all...)
		ok(t, j.trim(t.Context(), 5, 0, 0))
		want(t, "trimmed", j.all(t), all[len(all)-5:]...)
		ok(t, j.trim(t.Context(), 0, 0, 0))
		want(t, "all trimmed", j.all(t))
	})
}

func TestReadersEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		for name, read := range readers(j) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- read(ctx) }()
			synctest.Wait()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: the end of the context: %v", name, err)
			}
		}
		done := make(chan error)
		for _, read := range readers(j) {
			go func() { done <- read(t.Context()) }()
		}
		synctest.Wait()
		ok(t, j.store.Close())
		for range readers(j) {
			if err := <-done; err != nil {
				t.Errorf("the end of the store: %v", err)
			}
		}
	})
}

// readers are those who wait for news.
func readers(j *Journal) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Follow":  func(ctx context.Context) error { return j.Follow(ctx, At(j.now()), new(screen).reader()) },
		"Notices": func(ctx context.Context) error { return j.Notices(ctx, "bob", func(string) {}) },
	}
}

// What happens after the clock was set back is still the latest.
func TestClockSetBack(t *testing.T) {
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	clock := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return clock }
	j := New(store, now)
	j.add(t, "one", "two")
	clock = clock.Add(-24 * time.Hour)
	j.add(t, "three", "four")
	j = New(store, now) // the server starts again
	before, err := j.Now(t.Context())
	ok(t, err)
	want(t, "from now on", j.history(t, before, before.Add(time.Second)))
	j.add(t, "five", "six")
	want(t, "since then", j.history(t, before, before.Add(time.Second)), "five", "six")
	clock = clock.Add(48 * time.Hour)
	j.add(t, "seven")
	want(t, "all", j.all(t), "one", "two", "three", "four", "five", "six", "seven")
	want(t, "since the clock is right", j.history(t, clock, clock.Add(1)), "seven")
}

// countedViews is a store that counts how often it is read.
type countedViews struct {
	state.Store
	n int
}

func (s *countedViews) View(ctx context.Context, f func(state.Reader) error) error {
	s.n++
	return s.Store.View(ctx, f)
}

// Who looks for few among many reads on until there is a page of them.
func TestFewOfMany(t *testing.T) {
	j := newJournal(t)
	j.write(t, func(b *Bundle) {
		for i := range 10 * historyPage {
			b.Record(Event{Type: Power, Node: "n", Detail: fmt.Sprint(i)})
		}
	})
	counted := &countedViews{Store: j.store}
	j.store = counted
	begin, end := At(time.Time{}), Mark{key: forever}
	few := func(e Event) (Event, bool) {
		e.To = "wanted"
		return e, e.Detail == "0" || e.Detail == "700" || e.Detail == "1999"
	}
	var got []string
	ok(t, j.History(t.Context(), begin, end, few, Each(func(e Event) error {
		got = append(got, e.Detail+" "+e.To)
		return nil
	})))
	want(t, "of many", got, "0 wanted", "700 wanted", "1999 wanted")
	if counted.n != 1 {
		t.Errorf("the store was read %d times", counted.n)
	}
	counted.n, got = 0, nil
	from, err := j.Last(t.Context(), begin, end, 2, few)
	ok(t, err)
	if counted.n > 5 { // the keys, and twice as many events each time
		t.Errorf("the store was read %d times for the last ones", counted.n)
	}
	ok(t, j.History(t.Context(), from, end, few, Each(func(e Event) error {
		got = append(got, e.Detail)
		return nil
	})))
	want(t, "the last two", got, "700", "1999")
}

// The place before the last events is exact, also among events of one instant, and
// however many of them nobody wants.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		var all []string
		for i := range 2*historyPage + 10 {
			all = append(all, fmt.Sprint(i))
		}
		j.add(t, all...)
		begin, end := At(time.Time{}), At(j.now().Add(time.Hour))
		any := func(e Event) (Event, bool) { return e, true }
		for _, c := range []struct {
			n      int
			wanted Filter
			first  int
		}{
			{1, any, len(all) - 1},
			{historyPage, any, len(all) - historyPage},
			{historyPage + 1, any, len(all) - historyPage - 1},
			{len(all), any, 0},
			{len(all) + 1, any, 0},
			{2, func(e Event) (Event, bool) { return e, e.Detail <= "1" }, 0},
			{1, func(e Event) (Event, bool) { return e, false }, 0},
		} {
			from, err := j.Last(t.Context(), begin, end, c.n, c.wanted)
			ok(t, err)
			var got []string
			ok(t, j.History(t.Context(), from, end, nil, Each(func(e Event) error { got = append(got, e.Detail); return nil })))
			want(t, fmt.Sprintf("the last %d from %d on", c.n, c.first), got, all[c.first:]...)
		}
		from, err := j.Last(t.Context(), begin, At(time.Time{}), 1, any)
		if err != nil || from != begin {
			t.Errorf("of none: %v, %v", from, err)
		}
	})
}
