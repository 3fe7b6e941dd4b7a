package nodes

import (
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
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

