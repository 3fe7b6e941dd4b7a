package fault

import (
	"fmt"
	"testing"
)

func TestFew(t *testing.T) {
	var names []string
	for i := range 9 {
		names = append(names, fmt.Sprint(i))
	}
	for n, want := range map[int]string{0: "", 1: "0", 8: "0, 1, 2, 3, 4, 5, 6, 7", 9: "0, 1, 2, 3, 4 and 4 others"} {
		if got := Few(names[:n]); got != want || Many(names[:n]) != (n > 8) {
			t.Errorf("%d names are %q", n, got)
		}
	}
}

// TestJoined lists names of a type of their own.
func TestJoined(t *testing.T) {
	type name string
	if got := Joined([]name{"a", "b"}, ","); got != "a,b" {
		t.Errorf("two names are %q", got)
	}
}
