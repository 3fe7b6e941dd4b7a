package fault

import (
	"fmt"
	"strings"
)

// Few lists names in a sentence: all of them, or of many the first five and how
// many others there are.
func Few(names []string) string {
	if !Many(names) {
		return strings.Join(names, ", ")
	}
	const first = 5
	return fmt.Sprintf("%s and %d others", strings.Join(names[:first], ", "), len(names)-first)
}

// Many reports whether Few leaves some of the names out.
func Many(names []string) bool { return len(names) > 8 }
