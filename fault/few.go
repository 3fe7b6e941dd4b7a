package fault

import (
	"fmt"
	"strings"
)

// Few lists names in a sentence: all of them, or of many the first five and how
// many others there are.
func Few[S ~string](names []S) string { return FewOf(names, len(names)) }

// MostNames is how many names Few lists without leaving some out.
const MostNames = 8

// FewOf is Few of so many names, of which the first MostNames are given, or all.
func FewOf[S ~string](names []S, all int) string {
	if all <= MostNames {
		return Joined(names, ", ")
	}
	const first = 5
	return fmt.Sprintf("%s and %d others", Joined(names[:first], ", "), all-first)
}

// Many reports whether Few leaves some of the names out.
func Many[S ~string](names []S) bool { return len(names) > MostNames }

// Joined lists all names, with what is between them.
func Joined[S ~string](names []S, between string) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, between)
}
