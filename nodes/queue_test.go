package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// queuing is somebody who waits in a test.
type queuing struct {
	user   auth.Name
	cancel context.CancelFunc
	places chan Place
	begun  chan struct{} // closed when it is told its first place
	ended  chan struct{}
	result Result
	err    error
}

// begin has a user wait for nodes, until cancel is called or ctx ends.
func (l testLab) begin(ctx context.Context, user auth.Name, want Want, how Waiting) *queuing {
	q, wait := l.prepare(ctx, user, want, how)
	go wait()
	return q
}

// prepare is begin for a caller who has to know who waits before that begins.
func (l testLab) prepare(ctx context.Context, user auth.Name, want Want, how Waiting) (_ *queuing, wait func()) {
	q := &queuing{user: user, places: make(chan Place, 100), begun: make(chan struct{}), ended: make(chan struct{})}
	ctx, q.cancel = context.WithCancel(ctx)
	var once sync.Once
	how.Report = func(p Place) {
		once.Do(func() { close(q.begun) })
		select {
		case q.places <- p:
		default:
		}
	}
	return q, func() {
		defer close(q.ended)
		q.result, q.err = l.AcquireWhenFree(ctx, user, want, how)
	}
}

// wait has a user wait for nodes, and returns when the wish is in the queue, or was met.
func (l testLab) wait(t *testing.T, user auth.Name, want Want, how Waiting) *queuing {
	t.Helper()
	q := l.begin(t.Context(), user, want, how)
	t.Cleanup(func() {
		q.cancel()
		<-q.ended
	})
	until(t, func() bool {
		all, err := l.Queue(t.Context())
		ok(t, err)
		here := func(q Queued) bool { return q.User == user && q.Here }
		return isClosed(q.ended) || slices.ContainsFunc(all, here)
	})
	return q
}

// until waits for something that comes soon.
func until(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// gets returns the nodes that somebody who waits got.
func (q *queuing) gets(t *testing.T) (got []Name) {
	t.Helper()
	select {
	case <-q.ended:
	case <-time.After(time.Minute):
		t.Fatalf("%s still waits", q.user)
	}
	ok(t, q.err)
	for _, ch := range q.result.Changes {
		got = append(got, ch.Node)
	}
	return got
}

// waits fails the test when somebody does not wait any more.
func (q *queuing) waits(t *testing.T) {
	t.Helper()
	if isClosed(q.ended) {
		t.Fatalf("%s does not wait any more: %v, %v", q.user, q.result.Changes, q.err)
	}
}

// waiting are the users in the queue, in its order, those who got something and were not told with "!".
func (l testLab) waiting(t *testing.T) (all []string) {
	t.Helper()
	ws, err := state.Read(t.Context(), l.Store, func(r state.Reader) ([]Wish, error) { return wishes.All(r, "") })
	ok(t, err)
	for _, w := range ws {
		who := string(w.User)
		if w.granted() {
			who += "!"
		}
		all = append(all, who)
	}
	return all
}

// attended runs what the lab does for those who wait.
func (l testLab) attended(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.attend(ctx) }()
	t.Cleanup(func() {
		cancel()
		ok(t, <-done)
		l.works.Wait()
	})
}

func anyOf(n int, model images.Model) Want { return Want{Some: Some{N: n, Model: model}} }

// Who came first gets what becomes free first, in the transaction that frees it.
func TestQueueInOrder(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2")
	_, err := l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})
	ok(t, err)
	carol := l.wait(t, "carol", anyOf(1, "m1"), Waiting{})
	dave := l.wait(t, "dave", anyOf(1, ""), Waiting{})
	equal(t, "waiting", l.waiting(t), "carol", "dave")

	r, err := l.Release(t.Context(), "bob", parse("n1"))
	ok(t, err)
	equal(t, "owners", l.owners(t, "n1", "n2"), "carol", "bob")
	if r.Changes[0].Next != "carol" {
		t.Errorf("who releases is told %+v", r.Changes[0])
	}
	equal(t, "carol gets", carol.gets(t), "n1")
	dave.waits(t)
	_, err = l.Release(t.Context(), "bob", parse("n2"))
	ok(t, err)
	equal(t, "dave gets", dave.gets(t), "n2")
	equal(t, "waiting", l.waiting(t))
	l.works.Wait()
	sound(t, l.Store)
}

// In the log a node is free before it is somebody's who waited, and it says who waits no more.
func TestQueueInLog(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2")
	ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})))
	carol := l.wait(t, "carol", anyOf(2, "m1"), Waiting{})
	ok(t, errorOf(l.Release(t.Context(), "bob", parse("n1,n2"))))
	equal(t, "carol gets", carol.gets(t), "n1", "n2")
	bob := l.wait(t, "bob", Want{Set: Only("n2")}, Waiting{})
	bob.cancel()
	<-bob.ended
	equal(t, "the log", l.events(t, journal.Ownership)[2:],
		"bob n1: bob -> , boots waltplatform/m1-default", "bob n2: bob -> , boots waltplatform/m1-default",
		"server n1:  -> carol, boots carol/m1-default, as carol waited", "server n2:  -> carol, boots carol/m1-default, as carol waited")
	equal(t, "of the queue", l.events(t, journal.Queue),
		"carol :  -> carol, waits for 2 of m1", "bob :  -> bob, waits for n2", "server :  -> bob, bob waits no more for n2")
	l.works.Wait()
}

// Whose node somebody else gave back is told who has it now, if somebody waited for it.
func TestQueueTellsWhoHadIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3")
	ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2,n3"), Remarks{Note: "50% done"}, consent.Agreement{})))
	carol := l.wait(t, "carol", Want{Set: parse("n2")}, Waiting{})
	l.unseen(t, "bob")
	free := func(set string) {
		ok(t, errorOf(l.SetImage(t.Context(), "alice", parse(set), "default", Remarks{}, consent.Agreement{Whoever: true})))
	}
	free("n1,n2")
	equal(t, "carol gets", carol.gets(t), "n2")
	equal(t, "bob is told", l.unseen(t, "bob"),
		`alice gave your node n1 back, of which you noted "50% done": it is free and boots its default image`,
		`alice gave your node n2 back, of which you noted "50% done": it is carol's now, who waited for it`)
	carol = l.wait(t, "carol", anyOf(3, "m1"), Waiting{})
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{Whoever: true})))
	ok(t, errorOf(l.Release(t.Context(), "carol", Only("n2"))))
	l.unseen(t, "bob")
	free("n1,n3")
	equal(t, "carol gets", carol.gets(t), "n1", "n2", "n3")
	equal(t, "bob is told", l.unseen(t, "bob"), "alice gave your node n1 back: it is carol's now, who waited for it",
		`alice gave your node n3 back, of which you noted "50% done": it is carol's now, who waited for it`)
	l.works.Wait()
}

// A wish of which something is damaged is nothing to who frees what it is for, and ends.
func TestQueueOfWhatIsDamaged(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1")
	l.attended(t)
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})))
	carol := l.wait(t, "carol", Want{Set: parse("n1")}, Waiting{})
	dave := l.wait(t, "dave", Want{Set: parse("n1")}, Waiting{})
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		return tx.Put("image/carol/m1-default:latest", []byte("{"))
	})
	ok(t, err)
	ok(t, errorOf(l.Release(t.Context(), "bob", Only("n1"))))
	<-carol.ended
	if carol.err == nil {
		t.Error("carol got something")
	}
	equal(t, "dave gets", dave.gets(t), "n1")
}

// A node that is released and given on starts once, on its last image.
func TestQueueStartsOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"})
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1", Simulated: true}, nil)
	ok(t, err)
	carol := l.wait(t, "carol", Want{Set: parse("v1"), Remarks: Remarks{Job: "j7"}}, Waiting{})
	l.grid.take()
	_, err = l.Release(t.Context(), "bob", parse("v1"))
	ok(t, err)
	equal(t, "carol gets", carol.gets(t), "v1")
	equal(t, "started", l.grid.take(), "v1")
	if d := l.device(t, "v1"); d.Booted != d.Image || d.Remarks().Job != "j7" {
		t.Errorf("v1 is %+v", d)
	}
	if ch := carol.result.Changes[0]; ch.Reboot.Outcome != RebootOK {
		t.Errorf("carol is told %+v", ch)
	}
}

// What is there for a wish that wants more is kept for it, until its patience is over.
func TestQueuePatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2", "n3")
		_, err := l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})
		ok(t, err)
		l.attended(t)
		carol := l.wait(t, "carol", anyOf(3, "m1"), Waiting{}) // n3 is kept for her
		_, err = l.AcquireAny(t.Context(), "dave", Some{N: 1, Model: "m1"}, Remarks{})
		wantFault(t, err, fault.InUse, "kept", "node acquire --any 1 --model m1 --wait")
		dave := l.wait(t, "dave", anyOf(1, "m1"), Waiting{})
		_, err = l.Release(t.Context(), "bob", parse("n1"))
		ok(t, err)
		synctest.Wait()
		dave.waits(t)
		carol.waits(t)
		time.Sleep(patience)
		equal(t, "dave gets", dave.gets(t), "n3") // which was used the longest ago
		carol.waits(t)
		_, err = l.Release(t.Context(), "dave", parse("my-nodes"))
		ok(t, err)
		_, err = l.Release(t.Context(), "bob", parse("n2"))
		ok(t, err)
		equal(t, "carol gets", carol.gets(t), "n1", "n2", "n3")
	})
}

// Who takes by name what somebody waits for is asked; who waits for named nodes is not.
func TestQueueAsks(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	carol := l.wait(t, "carol", Want{Set: parse("n1,n2")}, Waiting{})
	ok(t, l.Store.View(t.Context(), func(r state.Reader) error {
		who, err := l.awaited(t.Context(), r, l.device(t, "n1"))
		equal(t, "n1 is awaited by", who, "carol")
		return err
	}))
	_, err = l.Acquire(t.Context(), "dave", parse("n2"), Remarks{}, consent.Agreement{})
	contest := wantContest(t, err, false, "n2 carol")
	if uses := contest.Nodes[0].Uses; uses != "is free, and carol waits for n1, n2" {
		t.Errorf("dave is told that n2 %s", uses)
	}
	_, err = l.Acquire(t.Context(), "dave", parse("n2"), Remarks{}, consent.Agreement{Shown: contest.Nodes})
	ok(t, err)
	_, err = l.Release(t.Context(), "bob", parse("n1"))
	ok(t, err)
	carol.waits(t)
	_, err = l.Release(t.Context(), "dave", parse("n2"))
	ok(t, err)
	equal(t, "carol gets", carol.gets(t), "n1", "n2")
	texts, err := l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)
	if len(texts) != 1 {
		t.Errorf("bob is told %q", texts)
	}
}

// What can never be fails at once.
func TestQueueNever(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	for what, want := range map[string]Want{
		"3 m1 nodes are wanted, and there are 2":            anyOf(3, "m1"),
		"2 nodes of n1 are wanted, and there is 1":          {Some: Some{N: 2, Set: parse("n1")}},
		"1 node of user:carol is wanted, and there is none": {Some: Some{N: 1, Set: parse("user:carol")}},
		"m9":            anyOf(1, "m9"),
		"already yours": {Set: parse("n1,n2")},
		"n7":            {Set: parse("n7")},
	} {
		_, err := l.AcquireWhenFree(t.Context(), "bob", want, Waiting{})
		wantFault(t, err, fault.Failed, what)
	}
	equal(t, "waiting", l.waiting(t))
}

// A wish ends with its context, and what was kept for it goes to the next.
func TestQueueEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol", "dave", "erin"}, "n1", "n2")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	carol := l.wait(t, "carol", anyOf(2, "m1"), Waiting{})
	dave := l.wait(t, "dave", anyOf(1, "m1"), Waiting{})
	erin := l.wait(t, "erin", anyOf(1, "m1"), Waiting{})
	equal(t, "waiting", l.waiting(t), "carol", "dave", "erin")
	carol.cancel()
	equal(t, "dave gets", dave.gets(t), "n2")
	<-carol.ended
	if carol.err != context.Canceled {
		t.Errorf("carol is told %v", carol.err)
	}
	all, err := l.Queue(t.Context())
	ok(t, err)
	if len(all) != 1 || all[0].User != "erin" || all[0].ID != 3 || all[0].Place != 1 || all[0].What != "1 of m1" {
		t.Errorf("the queue is %+v", all)
	}
	wantFault(t, l.CancelWish(t.Context(), "bob", 3, false), fault.Failed, "erin")
	ok(t, l.CancelWish(t.Context(), "alice", 3, true))
	<-erin.ended
	wantFault(t, erin.err, fault.Interrupted, "alice cancelled it")
}

// The nodes of a waiter whose client is gone when they are granted go to the next.
func TestQueueClientGone(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	carol := l.wait(t, "carol", anyOf(1, ""), Waiting{Alive: func(context.Context) bool { return false }})
	dave := l.wait(t, "dave", anyOf(1, ""), Waiting{Alive: func(context.Context) bool { return true }})
	_, err = l.Release(t.Context(), "bob", parse("n1"))
	ok(t, err)
	equal(t, "dave gets", dave.gets(t), "n1")
	<-carol.ended
	wantFault(t, carol.err, fault.Interrupted, "client")
	equal(t, "waiting", l.waiting(t))
	equal(t, "owners", l.owners(t, "n1"), "dave")
}

// A wish keeps its place over an end of the server, for the same user with the same line or
// job, and ends when nobody comes.
func TestQueueRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave", "erin", "frank"}, "n1", "n2")
		_, err := l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})
		ok(t, err)
		stopping := Waiting{Line: "a", Stopping: func() bool { return true }}
		for _, w := range []struct {
			user auth.Name
			job  Job
		}{{"carol", ""}, {"dave", "j1"}, {"erin", ""}} {
			q := l.wait(t, w.user, Want{Some: Some{N: 1}, Remarks: Remarks{Job: w.job}}, stopping)
			q.cancel()
			<-q.ended
		}
		equal(t, "kept", l.waiting(t), "carol", "dave", "erin")
		l.attended(t)
		frank := l.wait(t, "frank", anyOf(1, ""), Waiting{})
		dave := l.wait(t, "dave", Want{Some: Some{N: 1}, Remarks: Remarks{Job: "j1"}}, Waiting{Line: "another line"})
		equal(t, "taken up", l.waiting(t), "carol", "dave", "erin", "frank")
		_, err = l.Release(t.Context(), "bob", parse("n1")) // kept for carol
		ok(t, err)
		synctest.Wait()
		dave.waits(t)
		_, err = l.AcquireAny(t.Context(), "alice", Some{N: 1}, Remarks{})
		wantFault(t, err, fault.InUse)
		carol := l.wait(t, "carol", anyOf(1, ""), Waiting{Line: "a"})
		equal(t, "carol gets", carol.gets(t), "n1")
		_, err = l.Release(t.Context(), "bob", parse("n2"))
		ok(t, err)
		equal(t, "dave gets", dave.gets(t), "n2")
		_, err = l.Release(t.Context(), "dave", parse("n2")) // kept for erin, who does not come
		ok(t, err)
		time.Sleep(keptFor + time.Second)
		equal(t, "frank gets", frank.gets(t), "n2")
	})
}

// What was granted to somebody just before the server ended is handed over to who comes back
// for it, and released when nobody does.
func TestQueueRestartAfterGrant(t *testing.T) {
	t.Parallel()
	for _, comes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1")
			_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
			ok(t, err)
			held := make(chan struct{})
			carol := l.wait(t, "carol", anyOf(1, ""), Waiting{Line: "a", Stopping: func() bool { return true }, Alive: func(context.Context) bool {
				<-held
				return false
			}})
			_, err = l.Release(t.Context(), "bob", parse("n1"))
			ok(t, err)
			close(held)
			<-carol.ended
			equal(t, "granted", l.waiting(t), "carol!")
			l.attended(t)
			dave := l.wait(t, "dave", anyOf(1, ""), Waiting{})
			if comes {
				carol := l.wait(t, "carol", anyOf(1, ""), Waiting{Line: "a"})
				equal(t, "carol gets", carol.gets(t), "n1")
				dave.waits(t)
				return
			}
			time.Sleep(keptFor + time.Second)
			equal(t, "dave gets", dave.gets(t), "n1")
		})
	}
}

// Fifty wait for one node: each has it once, in order.
func TestQueueFair(t *testing.T) {
	t.Parallel()
	n := rounds(50)
	users := people(n)
	l := newLab(t, append([]auth.Name{"bob"}, users...), "n1")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	l.attended(t)
	var all []*queuing
	for _, u := range users {
		all = append(all, l.wait(t, u, anyOf(1, "m1"), Waiting{}))
	}
	last := auth.Name("bob")
	for i, q := range all {
		_, err := l.Release(t.Context(), last.Actor(), parse("n1"))
		ok(t, err)
		equal(t, fmt.Sprint(q.user, " gets"), q.gets(t), "n1")
		if i+1 < len(all) && slices.ContainsFunc(all[i+1:], func(q *queuing) bool { return isClosed(q.ended) }) {
			t.Fatal("a younger one has it, too")
		}
		last = q.user
	}
}

// Nobody waits while what they want is there, though others come, free and give up all
// the time.
func TestQueueStorm(t *testing.T) {
	t.Parallel()
	n := 8
	users := people(n)
	l := newLab(t, users, "n1", "n2", "n3")
	l.attended(t)
	ends := race(n, func(i int) error {
		for round := range rounds(30) {
			ctx, cancel := context.WithCancel(t.Context())
			if (i+round)%5 == 0 {
				time.AfterFunc(time.Duration(round%7)*time.Millisecond, cancel)
			}
			r, err := l.AcquireWhenFree(ctx, users[i], anyOf(1+(i+round)%2, "m1"), Waiting{Report: func(Place) {}})
			cancel()
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err != nil {
				continue
			}
			var names []string
			for _, ch := range r.Changes {
				names = append(names, string(ch.Node))
			}
			if _, err := l.Release(t.Context(), users[i].Actor(), parse(strings.Join(names, ","))); err != nil {
				return err
			}
		}
		return nil
	})
	for i, err := range ends {
		if err != nil {
			t.Errorf("%s: %v", users[i], err)
		}
	}
	l.works.Wait()
	equal(t, "waiting", l.waiting(t))
	equal(t, "owners", l.owners(t, "n1", "n2", "n3"), auth.Nobody, auth.Nobody, auth.Nobody)
	sound(t, l.Store)
}

// A user who is removed waits no more, and who waits for a node that is removed is told so;
// one that gets another name is still waited for, and what its keeper gave up goes on.
func TestQueueOfWhatGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave", "erin"}, "n1", "n2", "n3")
		_, err := l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})
		ok(t, err)
		l.run(t)
		carol := l.wait(t, "carol", Want{Set: parse("n1,n3")}, Waiting{})
		dave := l.wait(t, "dave", Want{Set: parse("n2")}, Waiting{})
		erin := l.wait(t, "erin", Want{Set: parse("n3")}, Waiting{}) // n3 is kept for carol
		erin.waits(t)
		_, err = l.RemoveUser(t.Context(), "alice", "carol", Legacy{})
		ok(t, err)
		<-carol.ended
		wantFault(t, carol.err, fault.Interrupted, "carol was removed")
		equal(t, "erin gets", erin.gets(t), "n3")
		_, err = l.Rename(t.Context(), "bob", "n2", "n4", consent.Agreement{})
		ok(t, err)
		_, err = l.Release(t.Context(), "bob", parse("n4"))
		ok(t, err)
		equal(t, "dave gets", dave.gets(t), "n4")
		dave = l.wait(t, "dave", Want{Some: Some{N: 1, Set: parse("n1,n4+not:n3")}}, Waiting{}) // n4 is dave's own
		_, err = l.Rename(t.Context(), "bob", "n1", "n5", consent.Agreement{})
		ok(t, err)
		_, err = l.Release(t.Context(), "bob", parse("n5"))
		ok(t, err)
		equal(t, "dave gets", dave.gets(t), "n5")
		_, err = l.Rename(t.Context(), "dave", "n5", "n1", consent.Agreement{})
		ok(t, err)
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{Whoever: true})))
		dave = l.wait(t, "dave", Want{Set: parse("n1")}, Waiting{})
		_, err = l.Forget(t.Context(), "bob", parse("n1"), consent.Agreement{})
		ok(t, err)
		<-dave.ended
		wantFault(t, dave.err, fault.Failed, "removed")
		equal(t, "waiting", l.waiting(t))
	})
}

// Who waits and gives up again and again does not have the owners told as often, be it for the
// same or for what is called otherwise each time.
func TestQueueTellsOwnersOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})))
		l.run(t)
		try := func(user auth.Name, want Want) {
			q := l.wait(t, user, want, Waiting{})
			q.cancel()
			<-q.ended
		}
		for range 20 {
			try("carol", Want{Set: parse("n1")})
			try("carol", anyOf(1, "m1"))
		}
		equal(t, "bob is told", l.hears(t, "bob"), "carol waits for your node n1", "carol waits for 1 of m1, as are 2 of your nodes: n1, n2")
		try("dave", Want{Set: parse("n1")})
		equal(t, "of another one", l.hears(t, "bob"), "dave waits for your node n1")
		time.Sleep(toldAgain)
		try("carol", Want{Set: parse("n1")})
		equal(t, "later", l.hears(t, "bob"), "carol waits for your node n1")
		for i := range 20 {
			try("carol", Want{Some: Some{N: 1, Set: parse(strings.Repeat("n1,", i) + "n1")}})
		}
		if n := len(l.hears(t, "bob")); n != toldAnHour-3 {
			t.Errorf("bob is told %d more times", n)
		}
	})
}

// What is waited for is told in few words, whatever it is.
func TestWishInWords(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("abcdefghi,", 11)
	for want, w := range map[string]Wish{
		"1 of all nodes":                   {N: 1},
		"2 of foo":                         {N: 2, Model: "foo"},
		"2 of state:off":                   {N: 2, Set: "state:off"},
		"2 of foo of not:state:off":        {N: 2, Model: "foo", Set: "not:state:off"},
		"3 of " + long[:100] + "...":       {N: 3, Set: long},
		"3 of m1 of " + long[:100] + "...": {N: 3, Model: "m1", Set: long},
	} {
		if got := w.ofWhich(); got != want {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
}

// A user waits for no more at the same time than is looked at quickly, whenever somebody frees a
// node.
func TestWishesAreBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	many := func(n int, w Wish) (ws []Wish) {
		for range n {
			ws = append(ws, w)
		}
		return ws
	}
	half := make([]ethernet.MAC, l.tooManyToTake()/2)
	for _, c := range []struct {
		ws   []Wish
		w    Wish
		want string // "" for none
	}{
		{many(mostWishes, Wish{User: "bob", N: 1}), Wish{User: "bob", N: 1}, "you wait for 200 things already"},
		{many(mostWishes-1, Wish{User: "bob", N: 1}), Wish{User: "bob", N: 1}, ""},
		{many(mostWishes, Wish{User: "bob", N: 1}), Wish{User: "carol", N: 1}, ""},
		{nil, Wish{User: "bob", N: 1, Set: strings.Repeat("a,b+", 500) + "c"}, "would be of 1001 words"},
		{nil, Wish{User: "bob", N: 1, Set: strings.Repeat("a,b+", 499) + "c,d"}, ""},
		{many(10, Wish{User: "bob", N: 1, Set: strings.Repeat("a,", 99) + "b"}), Wish{User: "bob", N: 1, Set: "n1"}, "would be of 1001 words"},
		{many(1, Wish{User: "bob", Nodes: half}), Wish{User: "bob", Nodes: half[1:]}, ""},
		{many(2, Wish{User: "bob", Nodes: half}), Wish{User: "bob", Nodes: half[:2]}, "nodes by name"},
	} {
		err := l.tooMuchToWaitFor(c.ws, &c.w)
		if c.want == "" {
			ok(t, err)
		} else {
			wantFault(t, err, fault.InUse, c.want)
		}
	}
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) (err error) {
		for i, w := range many(mostWishes, Wish{User: "alice", N: 1}) {
			w.ID = i + 1
			err = errors.Join(err, wishes.Put(tx, w.key(), w))
		}
		return errors.Join(err, lastWish.Put(tx, "id", mostWishes))
	})
	ok(t, err)
	l.node(t, "n1", "m1")
	l.user(t, "bob")
	ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{Whoever: true})))
	_, err = l.AcquireWhenFree(t.Context(), "alice", anyOf(1, ""), Waiting{Line: "x"})
	wantFault(t, err, fault.InUse, "you wait for 200 things already; nothing changed", "node queue")
	if line := lineOf(strings.Repeat("a", 1000)); len(line) > 200 || line == lineOf(strings.Repeat("a", 1001)) {
		t.Errorf("a long line is kept as %q", line)
	}
}

// What somebody waited for who went while the store failed is over when it works again.
func TestQueueEndsThoughTheStoreFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := badger.OpenMemory()
		ok(t, err)
		t.Cleanup(func() { ok(t, memory.Close()) })
		store := &failing{Store: memory}
		l := over(store, time.Now, newShelf())
		ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
		l.user(t, "bob")
		l.user(t, "carol")
		l.image(t, defaultOf("m1"))
		l.node(t, "n1", "m1")
		ok(t, errorOf(l.Acquire(t.Context(), "alice", parse("n1"), Remarks{}, consent.Agreement{})))
		l.run(t)
		bob := l.wait(t, "bob", Want{Set: parse("n1")}, Waiting{})
		carol := l.wait(t, "carol", Want{Set: parse("n1")}, Waiting{})
		time.Sleep(time.Hour) // no patience is left to wake for
		store.fails.Store(true)
		bob.cancel()
		<-bob.ended
		time.Sleep(time.Minute)
		equal(t, "waiting", l.waiting(t), "bob", "carol")
		store.fails.Store(false)
		time.Sleep(time.Minute)
		equal(t, "waiting", l.waiting(t), "carol")
		ok(t, errorOf(l.Release(t.Context(), "alice", parse("n1"))))
		equal(t, "carol gets", carol.gets(t), "n1")
	})
}

// A clock that is set forward has patience end soon, and one that is set back has nobody keep
// nodes for hours.
func TestQueueWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var set atomic.Int64
		store, err := badger.OpenMemory()
		ok(t, err)
		t.Cleanup(func() { ok(t, store.Close()) })
		l := over(store, func() time.Time { return time.Now().Round(0).Add(time.Duration(set.Load())) }, newShelf())
		ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
		l.image(t, defaultOf("m1"))
		for _, u := range []auth.Name{"bob", "carol", "dave"} {
			l.user(t, u)
		}
		for _, n := range []Name{"n1", "n2"} {
			l.node(t, n, "m1")
		}
		l.run(t)
		ok(t, errorOf(l.Acquire(t.Context(), "alice", parse("n1"), Remarks{}, consent.Agreement{})))
		bob := l.wait(t, "bob", anyOf(2, "m1"), Waiting{})
		carol := l.wait(t, "carol", anyOf(1, "m1"), Waiting{})
		time.Sleep(time.Second)
		carol.waits(t)
		set.Store(int64(time.Hour))
		time.Sleep(time.Minute)
		equal(t, "set forward, carol gets", carol.gets(t), "n2")
		bob.cancel()
		<-bob.ended

		ok(t, errorOf(l.Release(t.Context(), "carol", parse("n2"))))
		l.wait(t, "dave", Want{Set: parse("n1,n2")}, Waiting{}) // keeps n2 for now
		carol = l.wait(t, "carol", anyOf(1, "m1"), Waiting{})
		time.Sleep(time.Second)
		carol.waits(t)
		set.Store(0)
		time.Sleep(time.Minute)
		equal(t, "set back, carol gets", carol.gets(t), "n2")
	})
}

// Who wants nodes until some time waits no longer, and nobody gets nodes whose hold is over.
func TestQueueUntil(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})))
		l.run(t)
		until := Remarks{End: End{At: time.Now().Add(time.Hour)}}
		carol := l.wait(t, "carol", Want{Set: parse("n1"), Remarks: until}, Waiting{})
		time.Sleep(time.Hour - time.Second)
		carol.waits(t)
		time.Sleep(time.Second)
		<-carol.ended
		wantFault(t, carol.err, fault.Failed, "is over")
		_, err := l.Acquire(t.Context(), "carol", parse("n1"), until, consent.Agreement{Whoever: true}) // who was asked, and took time
		wantFault(t, err, fault.Failed, "is over; nothing changed", "--until")
		ok(t, errorOf(l.Release(t.Context(), "bob", parse("n1"))))
		equal(t, "owner", l.owners(t, "n1"), auth.Nobody)
	})
}

// What comes otherwise than by a release is given to who waits, too.
func TestQueueArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1")
		_, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		l.run(t)
		carol := l.wait(t, "carol", anyOf(1, "m1"), Waiting{})
		l.node(t, "n2", "m1")
		equal(t, "carol gets", carol.gets(t), "n2")
	})
}

// BenchmarkQueue is a release while many wait for the node, until the one whose turn it is
// has it. Each gets it once, in order.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{50, 1000} {
		b.Run(fmt.Sprintf("waiting=%d", n), func(b *testing.B) {
			users := people(n / 10)
			l := newLab(b, append(users, "bob"), "n1")
			_, err := l.Acquire(b.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
			ok(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			var all sync.WaitGroup
			all.Go(func() { _ = l.attend(ctx) })
			served := make(chan int)
			arrive := func(i int) {
				in := make(chan struct{})
				var once sync.Once
				all.Go(func() {
					how := Waiting{Line: fmt.Sprint(i), Report: func(Place) { once.Do(func() { close(in) }) }}
					if _, err := l.AcquireWhenFree(ctx, users[i%len(users)], anyOf(1, "m1"), how); err == nil {
						served <- i
					}
				})
				<-in
			}
			for i := range n {
				arrive(i)
			}
			owner, next := auth.Name("bob"), 0
			for b.Loop() {
				_, err := l.Release(b.Context(), owner.Actor(), parse("n1"))
				ok(b, err)
				if got := <-served; got != next {
					b.Fatalf("%d was served, want %d", got, next)
				}
				b.StopTimer()
				owner, next = users[next%len(users)], next+1
				arrive(n + next - 1)
				b.StartTimer()
			}
			cancel()
			all.Wait()
			l.works.Wait()
		})
	}
}

// A wish that cannot be met, as an image of the user is in the way, ends with that, and none of
// its nodes becomes the user's.
func TestQueueOfWhatCannotBe(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1")
	l.image(t, defaultOf("m2"))
	l.node(t, "n2", "m2")
	ok(t, errorOf(l.Acquire(t.Context(), "carol", parse("n1,n2"), Remarks{}, consent.Agreement{})))
	bob := l.wait(t, "bob", Want{Set: parse("n1,n2")}, Waiting{})
	l.image(t, images.Image{Ref: ref("bob/pair"), Digest: sum("other"), Models: []images.Model{"m1"}})
	ok(t, errorOf(l.Release(t.Context(), "carol", parse("n1,n2"))))
	select {
	case <-bob.ended:
	case <-time.After(time.Minute):
		t.Fatal("bob still waits")
	}
	if fault.As(bob.err) == nil {
		t.Errorf("bob is told %v", bob.err)
	}
	equal(t, "owners", l.owners(t, "n1", "n2"), auth.Nobody, auth.Nobody)
	equal(t, "waiting", l.waiting(t))
}
