package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/state"
)

// screen is where a follower shows events.
type screen struct {
	mu     sync.Mutex
	lines  []string
	missed int
	paused chan struct{} // if not nil, the first line waits for its end

	patience time.Duration
}

func (s *screen) show(page []Event, missed int) error {
	s.mu.Lock()
	first := len(s.lines) == 0
	for _, e := range page {
		s.lines = append(s.lines, e.Detail)
	}
	s.missed += missed
	s.mu.Unlock()
	if first && s.paused != nil {
		<-s.paused
	}
	return nil
}

// reader is the screen as a follower of all but what nobody wants.
func (s *screen) reader() Reader {
	return Reader{Show: s.show, Patience: s.patience, Wanted: func(e Event) (Event, bool) { return e, e.Detail != "unwanted" }}
}

func (s *screen) shown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// follow starts a follower and returns when it waits for events.
func (j *Journal) follow(t *testing.T, s *screen) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	time.Sleep(time.Nanosecond) // what is stamped with the same instant would be shown
	go func() { done <- j.Follow(ctx, At(j.now()), s.reader()) }()
	synctest.Wait()
	t.Cleanup(func() {
		cancel()
		ok(t, <-done)
	})
}

func TestFollowShowsWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.add(t, "before")
		var s screen
		j.follow(t, &s)
		j.add(t, "a", "b")
		time.Sleep(2 * slack)
		j.add(t, "c")
		ok(t, j.trim(t.Context(), 1, 0, 0))
		synctest.Wait()
		want(t, "shown", s.shown(), "a", "b", "c")
	})
}

// From an instant in the past, what happened since comes first, and nothing
// between that and what comes then is missed or shown twice.
func TestFollowFromThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.add(t, "long ago")
		time.Sleep(time.Hour)
		from := j.now()
		j.add(t, "a")
		time.Sleep(time.Second)
		var s screen
		s.paused = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- j.Follow(ctx, At(from), s.reader()) }()
		synctest.Wait() // it shows the first one
		j.add(t, "b")
		close(s.paused)
		synctest.Wait()
		j.add(t, "c")
		synctest.Wait()
		want(t, "shown", s.shown(), "a", "b", "c")
		cancel()
		ok(t, <-done)
	})
}

// views is a store that counts how often it is looked into.
type views struct {
	state.Store
	n int
}

func (v *views) View(ctx context.Context, f func(state.Reader) error) error {
	v.n++
	return v.Store.View(ctx, f)
}

// Of a long past only what is wanted is looked at closely, and each event is shown once,
// also when more comes meanwhile than a watch holds.
func TestFollowFromLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.add(t, "first")
		j.add(t, slices.Repeat([]string{"unwanted"}, 20*historyPage)...)
		j.add(t, "second")
		time.Sleep(slack + time.Second)
		j.add(t, "young")
		time.Sleep(slack / 2)
		counted := &views{Store: j.store}
		j.store = counted
		s := &screen{paused: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- j.Follow(ctx, At(time.Time{}), s.reader()) }()
		synctest.Wait() // it shows the first ones
		j.add(t, "next")
		j.add(t, slices.Repeat([]string{"unwanted"}, 2000)...)
		close(s.paused)
		synctest.Wait()
		j.behind(slack/2).add(t, "late")
		synctest.Wait()
		want(t, "shown", s.shown(), "first", "second", "young", "next", "late")
		if most := 2 + 2*(1+2000/historyPage); counted.n > most {
			t.Errorf("it looked into the store %d times, want %d at most", counted.n, most)
		}
		cancel()
		ok(t, <-done)
	})
}

func TestFollowEndsWhenShowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		gone := errors.New("gone")
		done := make(chan error)
		go func() {
			done <- j.Follow(t.Context(), At(j.now()), Reader{Show: func([]Event, int) error { return gone }, Wanted: wantAll})
		}()
		synctest.Wait()
		j.add(t, "a")
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
}

// TestFollowMissesNothing has many write while a follower is so slow that the
// store gives up to count for it what changed.
func TestFollowMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.add(t, "before")
		fast, slow := &screen{}, &screen{paused: make(chan struct{})}
		j.follow(t, fast)
		j.follow(t, slow)

		const writers, each = 8, 200
		var wanted []string
		for i := range writers * each {
			wanted = append(wanted, fmt.Sprintf("%04d", i))
		}
		var writing sync.WaitGroup
		for some := range slices.Chunk(wanted, each) {
			writing.Go(func() { j.add(t, some...) })
		}
		writing.Wait()
		close(slow.paused)
		synctest.Wait()
		j.add(t, "last")
		synctest.Wait()

		for name, s := range map[string]*screen{"fast": fast, "slow": slow} {
			shown := s.shown()
			if last := shown[len(shown)-1]; last != "last" {
				t.Errorf("%s: %q was shown last", name, last)
			}
			slices.Sort(shown)
			if !slices.Equal(shown, append(slices.Clone(wanted), "last")) {
				t.Errorf("%s: shown were %d events, want each of %d once", name, len(shown), len(wanted)+1)
			}
		}
	})
}

func wantAll(e Event) (Event, bool) { return e, true }

// A reader that does not keep up learns how much was left out, and goes on with
// what comes then; one that is patient, or as fast as many come at once, is given
// all of it.
func TestFollowLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 3000
		j := newJournal(t)
		slow, patient := &screen{patience: time.Second, paused: make(chan struct{})}, &screen{paused: make(chan struct{})}
		fast := &screen{patience: time.Second}
		for _, s := range []*screen{slow, patient, fast} {
			j.follow(t, s)
		}
		j.add(t, "first")
		time.Sleep(2 * time.Second)
		for range 2 { // more than a watch holds
			_, err := j.store.Update(t.Context(), func(tx state.Tx) error {
				for i := range many / 2 {
					detail := "many"
					if i%3 == 0 {
						detail = "unwanted"
					}
					ok(t, j.Record(tx, Event{Type: Power, Detail: detail}))
				}
				return nil
			})
			ok(t, err)
		}
		synctest.Wait()
		close(slow.paused)
		close(patient.paused)
		synctest.Wait()
		j.add(t, "last")
		synctest.Wait()
		want(t, "shown to the slow", slow.shown(), "first", "last")
		if slow.missed != many*2/3 {
			t.Errorf("%d were said to be left out", slow.missed)
		}
		for _, s := range []*screen{patient, fast} {
			if n := len(s.shown()); n != many*2/3+2 || s.missed != 0 {
				t.Errorf("%d were shown, %d left out", n, s.missed)
			}
		}
	})
}

// TestFollowLateCommit commits an event after younger ones were shown, when the
// follower keeps up and when it does not.
func TestFollowLateCommit(t *testing.T) {
	for _, others := range []int{1, 2000} {
		synctest.Test(t, func(t *testing.T) {
			j := newJournal(t)
			s := &screen{paused: make(chan struct{})}
			j.follow(t, s)
			time.Sleep(slack)
			j.add(t, "young")
			synctest.Wait() // it is being shown
			j.behind(slack/2).add(t, "late")
			for range others {
				j.add(t, "other")
			}
			close(s.paused)
			synctest.Wait()
			shown := s.shown()
			if n := len(shown); n != 2+others {
				t.Errorf("with %d others: %d events were shown", others, n)
			}
			if !slices.Contains(shown, "late") {
				t.Errorf("with %d others: the late event was missed", others)
			}
		})
	}
}

// behind is the same journal for transactions that began a while ago, or on a
// server whose clock is behind.
func (j *Journal) behind(d time.Duration) *Journal {
	return New(j.store, func() time.Time { return j.now().Add(-d) })
}
