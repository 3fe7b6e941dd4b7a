package lan

import "testing"

// One sender that floods a machine loses what is too much; others get their turn.
func TestTurns(t *testing.T) {
	t.Parallel()
	q, evil := newQueue(), new(Port)
	for range 3 * queued {
		q.put(evil, []byte("evil"))
	}
	for _, frame := range []string{"1", "2", "3"} {
		q.put(nil, []byte(frame))
	}
	<-q.ready
	var got string
	for range 7 {
		got += string(q.take()) + " "
	}
	if want := "evil 1 evil 2 evil 3 evil "; got != want {
		t.Errorf("the order is %q", got)
	}
	left := 0
	for q.take() != nil {
		left++
	}
	if left != queued-4 {
		t.Errorf("%d frames are left, want %d", left, queued-4)
	}
	q.put(nil, []byte("again"))
	if <-q.ready; string(q.take()) != "again" || q.take() != nil {
		t.Error("a queue that was empty loses frames")
	}
}
