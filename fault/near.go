package fault

import (
	"cmp"
	"slices"
	"strings"
)

// Unknown reports names that stand for nothing, all of them at once, each with
// its nearest known names. noun is what they should have been, as in "node";
// hint says what to do when none is near.
func Unknown(noun string, names, known []string, hint string) *Error {
	var msg, hints []string
	for _, name := range names {
		msg = append(msg, name)
		if near := Nearest(name, known); len(near) > 0 {
			hints = append(hints, "did you mean "+strings.Join(near, " or ")+" instead of "+name+"?")
		}
	}
	if len(names) > 1 {
		noun += "s"
	}
	return &Error{Kind: Failed, Msg: "unknown " + noun + " " + strings.Join(msg, ", "), Hint: cmp.Or(strings.Join(hints, "\n"), hint)}
}

// Nearest returns at most three of the known names that name was probably
// meant to be, or begins, in upper case or lower, the nearest first; none when nothing is near.
func Nearest(name string, known []string) []string {
	name = strings.ToLower(name)
	type candidate struct {
		name     string
		distance int
	}
	limit := max(1, len(name)/3)
	var found []candidate
	for _, k := range known {
		lower := strings.ToLower(k)
		if len(name) > 1 && strings.HasPrefix(lower, name) {
			found = append(found, candidate{k, limit})
			continue
		}
		if diff := len(k) - len(name); max(diff, -diff) > limit {
			continue
		}
		if d := distance(name, lower); d <= limit {
			found = append(found, candidate{k, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var near []string
	for _, c := range found[:min(3, len(found))] {
		near = append(near, c.name)
	}
	return near
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (the restricted Damerau-Levenshtein distance).
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
