package fault

import (
	"fmt"
	"strings"
)

// Few lists names in a sentence: all of them, or of many the first five and how
// many others there are.
func Few(names []string) string { return FewOf(names, len(names)) }

// MostNames is how many names Few lists without leaving some out.
const MostNames = 8

// FewOf is Few of so many names, of which the first MostNames are given, or all.
func FewOf(names []string, all int) string {
	if all <= MostNames {
		return strings.Join(names, ", ")
	}
	const first = 5
	return fmt.Sprintf("%s and %d others", strings.Join(names[:first], ", "), all-first)
}

// Many reports whether Few leaves some of the names out.
func Many(names []string) bool { return len(names) > MostNames }
