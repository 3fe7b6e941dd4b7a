package nodes

import (
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/state"
)

// told returns the last that somebody who waits was told of where that is.
func (q *queuing) told(t *testing.T) (p Place) {
	t.Helper()
	after(time.Second)
	for {
		select {
		case p = <-q.places:
		default:
			return p
		}
	}
}

// A wish that can be met no more, as there are too few such nodes, ends; so it does when
// these are of another model now, or lost a tag. Those that are but out of service count,
// which is told, and so do those that somebody has, or that are off.
func TestQueueOfTooFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := []auth.Name{"bob", "carol", "dave", "erin", "frank"}
		l := newLab(t, users, "n1", "n2", "n3", "n4", "n5")
		l.image(t, defaultOf("m2"))
		ok(t, errorOf(l.Tag(t.Context(), "bob", parse("n1,n2"), []string{"lora"})))
		ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1,n2,n3,n4"), Remarks{}, consent.Agreement{})))
		defer l.run(t)()
		some := func(n int, set string) Want { return Want{Some: Some{N: n, Set: parse(set)}} }
		carol := l.wait(t, "carol", some(2, "tag:lora"), Waiting{})
		dave := l.wait(t, "dave", anyOf(5, "m1"), Waiting{})
		erin := l.wait(t, "erin", some(4, "not:state:off,free-nodes"), Waiting{})
		frank := l.wait(t, "frank", Want{Set: parse("n4")}, Waiting{})
		if p := carol.told(t); p.Place != 1 || p.Retired != nil {
			t.Errorf("carol is told %+v", p)
		}
		ok(t, errorOf(l.Retire(t.Context(), "bob", parse("n2,n4"), "broken", consent.Agreement{})))
		equal(t, "carol lacks", carol.told(t).Retired, "n2")
		equal(t, "dave lacks", dave.told(t).Retired, "n2", "n4")
		equal(t, "erin lacks", erin.told(t).Retired, "n2", "n4")
		equal(t, "frank lacks", frank.told(t).Retired, "n4")
		ok(t, errorOf(l.Return(t.Context(), "bob", parse("n4"))))
		equal(t, "carol is told no more", carol.told(t).Retired)
		equal(t, "dave lacks", dave.told(t).Retired, "n2")
		if p := erin.told(t); p.Place != 3 || p.Retired != nil {
			t.Errorf("erin is told %+v", p)
		}

		ok(t, errorOf(l.Untag(t.Context(), "bob", Only("n2"), []string{"lora"})))
		<-carol.ended
		wantFault(t, carol.err, fault.Failed, "no longer waiting: 2 nodes of tag:lora are wanted, and there is 1")
		ok(t, errorOf(l.Release(t.Context(), "bob", Only("n3"))))
		l.configure(t, "n5", "model=m2")
		<-dave.ended
		wantFault(t, dave.err, fault.Failed, "no longer waiting: 5 m1 nodes are wanted, and there are 4")
		ok(t, errorOf(l.Forget(t.Context(), "bob", parse("n1"), consent.Agreement{})))
		after(time.Second)
		erin.waits(t)
		ok(t, errorOf(l.Forget(t.Context(), "bob", parse("n2"), consent.Agreement{})))
		<-erin.ended
		wantFault(t, erin.err, fault.Failed, "no longer waiting: 4 nodes of not:state:off,free-nodes are wanted, and there are 3")
		time.Sleep(time.Hour)
		frank.waits(t)
	})
}

// What can be got one day is waited for though it is not there now, and what never can is not.
func TestPossible(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1", "n2", "n3")
	ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("n1"), Remarks{Job: "j"}, consent.Agreement{})))
	ok(t, errorOf(l.Retire(t.Context(), "bob", parse("n2"), "", consent.Agreement{})))
	for set, want := range map[string]int{
		"n1": 1, "all-nodes": 3, "free-nodes": 3, "not:free-nodes": 0, "state:up": 3, "not:state:up": 3, "n*+not:n2": 2,
		"my-nodes": 0, "user:bob": 0, "job:j": 0, "not:user:bob": 3, "n1+not:my-nodes": 1, "model:m1+user:bob": 0, "n3,user:bob": 1,
	} {
		p, err := state.Read(t.Context(), l.Store, func(r state.Reader) (possible, error) {
			return l.possible(t.Context(), r, "bob", Some{N: 1, Set: parse(set)})
		})
		if ok(t, err); p.n != want {
			t.Errorf("of %s there may be %d, want %d", set, p.n, want)
		}
	}
	_, err := l.AcquireWhenFree(t.Context(), "alice", Want{Some: Some{N: 1, Set: parse("user:bob")}}, Waiting{})
	wantFault(t, err, fault.Failed, "1 node of user:bob is wanted, and there is none", "free nodes, which are nobody's")
}
