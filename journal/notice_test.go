package journal

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/state"
)

func (j *Journal) tell(t testing.TB, user, text string) {
	t.Helper()
	_, err := j.store.Update(t.Context(), func(tx state.Tx) error { return j.Tell(tx, user, text) })
	ok(t, err)
}

func (j *Journal) unseen(t testing.TB, user string) []string {
	t.Helper()
	texts, err := j.Unseen(t.Context(), user)
	ok(t, err)
	return texts
}

// shell is an open session of a user that shows notices.
type shell struct {
	mu    sync.Mutex
	lines []string
	close func()
}

func (s *shell) shown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// open opens a shell of the user.
func (j *Journal) open(t *testing.T, user string) *shell {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	s := &shell{close: sync.OnceFunc(func() {
		cancel()
		ok(t, <-done)
	})}
	go func() {
		done <- j.Notices(ctx, user, func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines = append(s.lines, text)
		})
	}()
	synctest.Wait()
	t.Cleanup(s.close)
	return s
}

func TestNoticeIsShownInEveryOpenShell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		one, two, other := j.open(t, "bob"), j.open(t, "bob"), j.open(t, "bo")
		j.tell(t, "bob", "a")
		j.tell(t, "bob", "b")
		synctest.Wait()
		want(t, "the first shell", one.shown(), "a", "b")
		want(t, "the second shell", two.shown(), "a", "b")
		want(t, "the shell of somebody else", other.shown())
		want(t, "the next login", j.unseen(t, "bob"))

		late := j.open(t, "bob")
		want(t, "a later shell", late.shown())
		two.close()
		time.Sleep(2 * seenFor)
		j.tell(t, "bob", "c")
		synctest.Wait()
		want(t, "the first shell", one.shown(), "a", "b", "c")
		want(t, "the later shell", late.shown(), "c")
		want(t, "the closed shell", two.shown(), "a", "b")
	})
}

func TestNoticeWaitsForTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.tell(t, "bob", "a")
		time.Sleep(2 * seenFor)
		j.tell(t, "bob", "b")
		want(t, "somebody else", j.unseen(t, "bo"))
		want(t, "the next login", j.unseen(t, "bob"), "a", "b")
		want(t, "the login after that", j.unseen(t, "bob"))
	})
}

// readOnly is a store that fails a test which has it changed.
type readOnly struct {
	state.Store
	t *testing.T
}

func (s readOnly) Update(context.Context, func(state.Tx) error) (state.Version, error) {
	s.t.Error("a change was begun")
	return 0, nil
}

// TestNoNotices logs in without notices, which begins no change: that might wait for
// those of others.
func TestNoNotices(t *testing.T) {
	j := newJournal(t)
	j.tell(t, "ann", "for ann")
	j.store = readOnly{j.store, t}
	if texts := j.unseen(t, "an"); len(texts) > 0 {
		t.Errorf("an is shown %q", texts)
	}
}

// TestNoticeBetweenLoginAndShell leaves a notice after a login was shown what it
// missed, before its shell waits for more.
func TestNoticeBetweenLoginAndShell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.tell(t, "bob", "a")
		want(t, "the login", j.unseen(t, "bob"), "a")
		j.tell(t, "bob", "b")
		want(t, "its shell", j.open(t, "bob").shown(), "b")
		want(t, "the next login", j.unseen(t, "bob"))
	})
}

// TestNoticeOfOneLogin has many log in at once: one of them is shown the notice.
func TestNoticeOfOneLogin(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	for range 20 {
		j.tell(t, "bob", "a")
		var logins sync.WaitGroup
		var mu sync.Mutex
		var shown []string
		for range 8 {
			logins.Go(func() {
				texts := j.unseen(t, "bob")
				mu.Lock()
				defer mu.Unlock()
				shown = append(shown, texts...)
			})
		}
		logins.Wait()
		want(t, "all logins", shown, "a")
	}
}

// TestNoticeLateCommit commits a notice after a younger one was shown.
func TestNoticeLateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		one, two := j.open(t, "bob"), j.open(t, "bob")
		j.tell(t, "bob", "young")
		synctest.Wait()
		j.behind(time.Second).tell(t, "bob", "late")
		synctest.Wait()
		want(t, "the first shell", one.shown(), "young", "late")
		want(t, "the second shell", two.shown(), "young", "late")
	})
}

func TestNoticesUnderConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		one, two := j.open(t, "bob"), j.open(t, "bob")
		wanted := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
		var telling sync.WaitGroup
		for _, text := range wanted {
			telling.Go(func() { j.tell(t, "bob", text) })
		}
		telling.Wait()
		synctest.Wait()
		for _, s := range []*shell{one, two} {
			shown := s.shown()
			slices.Sort(shown)
			want(t, "shown", shown, wanted...)
		}
	})
}

// TestShownNoticesGo looks at the rows: what was shown a while ago is deleted.
func TestShownNoticesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		j.tell(t, "bob", "a")
		j.unseen(t, "bob")
		time.Sleep(seenFor + 1)
		j.tell(t, "bob", "b")
		j.unseen(t, "bob")
		if n := j.rows(t, notices.Prefix("")); n != 1 {
			t.Errorf("%d notices are kept, want the one just shown", n)
		}
	})
}

func (j *Journal) rows(t testing.TB, prefix string) (n int) {
	t.Helper()
	ok(t, j.store.View(t.Context(), func(r state.Reader) error {
		for _, err := range r.Keys(prefix, "") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

func TestForget(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	for _, user := range []string{"bob", "bo"} {
		j.tell(t, user, "a")
	}
	_, err := j.store.Update(t.Context(), func(tx state.Tx) error { return j.Forget(tx, "bob") })
	ok(t, err)
	want(t, "notices of bob", j.unseen(t, "bob"))
	want(t, "notices of bo", j.unseen(t, "bo"), "a")
}
