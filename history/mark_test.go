package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"walt/auth"
	"walt/fault"
)

// A mark is of its user alone, and stands for the moment that it was last given.
func TestMarks(t *testing.T) {
	t.Parallel()
	h, _ := newHistory(t, "alice", "bob")
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for i, name := range []string{"exp1", "exp2", "exp1"} {
		ok(t, h.Mark(t.Context(), "alice", Mark{name, at.Add(time.Duration(i) * time.Minute)}))
	}
	got, err := h.Marks(t.Context(), "alice")
	ok(t, err)
	if want := []Mark{{"exp2", at.Add(time.Minute)}, {"exp1", at.Add(2 * time.Minute)}}; !slices.Equal(got, want) {
		t.Errorf("the marks are %v, want %v", got, want)
	}
	if when, err := h.Marked(t.Context(), "alice", "exp2"); err != nil || !when.Equal(at.Add(time.Minute)) {
		t.Errorf("exp2 is %v, %v", when, err)
	}
	for _, user := range []auth.Name{"bob", "nobody"} {
		if _, err := h.Marked(t.Context(), user, "exp1"); fault.As(err) == nil {
			t.Errorf("%s has the mark of alice: %v", user, err)
		}
	}
	ok(t, h.Mark(t.Context(), "nobody", Mark{"exp1", at}))
	if got, err := h.Marks(t.Context(), "nobody"); err != nil || len(got) != 0 {
		t.Errorf("who is no user has the marks %v, %v", got, err)
	}
	ok(t, h.Unmark(t.Context(), "alice", "exp1"))
	if err := h.Unmark(t.Context(), "alice", "exp1"); fault.As(err) == nil {
		t.Errorf("it is removed twice: %v", err)
	}
}

// There are only so many marks, and who is told so is told which to remove.
func TestManyMarks(t *testing.T) {
	t.Parallel()
	h, _ := newHistory(t, "alice")
	now := time.Now().UTC()
	for i := range mostMarks {
		ok(t, h.Mark(t.Context(), "alice", Mark{fmt.Sprint("m", i), now.Add(time.Duration(i))}))
	}
	err := h.Mark(t.Context(), "alice", Mark{"more", now})
	if f := fault.As(err); f == nil || f.Hint != "remove those that are not used: log mark --remove @m0" {
		t.Errorf("one more: %v", err)
	}
	ok(t, h.Mark(t.Context(), "alice", Mark{"m7", now}))
	if got, err := h.Marks(t.Context(), "alice"); err != nil || len(got) != mostMarks {
		t.Errorf("there are %d marks, %v", len(got), err)
	}
}

func TestParseMark(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"exp1": true, "A.b_c-9": true, "": false, "-a": false, "a b": false, "a..b": false, "a.b": true, "ä": false, "a/b": false, "@a": false, "x\n": false} {
		if err := ParseMark(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
