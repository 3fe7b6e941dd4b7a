package commands

import (
	"testing"
)

// The words of a line begin where split finds them.
func FuzzWordStarts(f *testing.F) {
	for _, line := range []string{"", "a b", ` a  "b c" 'd'e\\ f # no`, `a#b "#"`, `'' ""`, `"\\"" x`, "a\tb"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split(line)
		if err != nil || len(words) == 0 {
			return
		}
		starts := wordStarts(line)
		if all, _ := split("x " + line); len(all)-1 != len(starts) {
			t.Fatalf("%q: %q begin at %v", line, words, starts)
		}
		if words[0] == "walt" || len(starts) != len(words) {
			return
		}
		for i, at := range starts {
			if rest, err := split("x " + line[at:]); err != nil || len(rest) != len(words)-i+1 || rest[1] != words[i] {
				t.Errorf("%q: from %d on it is %q, %v", line, at, rest, err)
			}
		}
	})
}
