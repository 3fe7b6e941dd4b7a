package nodes

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
)

// What is there is kept for each of the wishes for more of the same as long as it is young,
// also when those before it are not any more.
func TestPatienceOfEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave", "erin"}, "n1", "n2", "n3")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})))
		l.attended(t)
		l.wait(t, "carol", anyOf(3, "m1"), Waiting{})
		time.Sleep(patience / 2)
		l.wait(t, "dave", anyOf(3, "m1"), Waiting{})
		erin := l.wait(t, "erin", anyOf(1, "m1"), Waiting{})
		after(patience - time.Second) // that of carol is over
		erin.waits(t)
		after(time.Second)
		equal(t, "erin gets", erin.gets(t), "n3")
	})
}

// A wish whose place is kept after the end of the server keeps nodes from others no longer than
// any.
func TestPatienceOfWhoIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})))
		carol := l.wait(t, "carol", anyOf(2, "m1"), Waiting{Stopping: func() bool { return true }})
		time.Sleep(patience - keptFor/2)
		carol.cancel()
		<-carol.ended
		l.attended(t)
		dave := l.wait(t, "dave", anyOf(1, "m1"), Waiting{})
		after(keptFor/2 - time.Second)
		dave.waits(t)
		after(time.Second)
		equal(t, "waiting", l.waiting(t), "carol")
		equal(t, "dave gets", dave.gets(t), "n2")
	})
}

// A user who is removed between a grant and being told of it is not told that the nodes are
// theirs.
func TestRemovedWhenGranted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob", "carol"}, "n1")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})))
		l.attended(t)
		answers := make(chan bool)
		carol := l.wait(t, "carol", anyOf(1, "m1"), Waiting{Alive: func(context.Context) bool { return <-answers }})
		ok(t, errorOf(l.Release(t.Context(), "bob", parse("n1"))))
		synctest.Wait()
		equal(t, "owners", l.owners(t, "n1"), "carol")
		ok(t, errorOf(l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true})))
		answers <- true
		<-carol.ended
		wantFault(t, carol.err, fault.Interrupted, "no longer waiting")
		equal(t, "owners", l.owners(t, "n1"), auth.Nobody)
	})
}
