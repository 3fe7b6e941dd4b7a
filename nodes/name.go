package nodes

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"walt/fault"
)

// Name is the valid name of a device: a hostname in lower case.
type Name string

// keywords are the node sets that have a name; no device can be called so.
var keywords = []string{"my-nodes", "free-nodes", "all-nodes", "all-switches", "all-devices", "explorable-switches", serverKeyword}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// ParseName checks the form of a device's name: 2 to 63 letters, digits or "-",
// first a letter, not ending in "-", and no keyword of device sets. Upper case
// is folded, as in hostnames.
func ParseName(s string) (Name, error) {
	name := strings.ToLower(s)
	if !nameForm.MatchString(name) {
		return "", fault.Usagef("invalid device name %q", s).
			WithHint("a name is 2 to 63 letters, digits or -, first a letter, and does not end in -")
	}
	if slices.Contains(keywords, name) {
		return "", fault.Usagef("the name %q is a keyword of device sets", s).
			WithHint("choose another name (see: help show device-sets)")
	}
	return Name(name), nil
}

// Compare orders names in natural sort order, the way people count: rpi-2 is
// before rpi-10.
func (n Name) Compare(other Name) int {
	s, t := string(n), string(other)
	same := 0
	for same < len(s) && same < len(t) && s[same] == t[same] {
		same++
	}
	for same > 0 && isDigit(s[same-1]) { // a number is compared as a whole
		same--
	}
	s, t = s[same:], t[same:]
	for s != "" && t != "" {
		i, j := digits(s), digits(t)
		if i == 0 || j == 0 {
			if s[0] != t[0] {
				return cmp.Compare(s[0], t[0])
			}
			s, t = s[1:], t[1:]
			continue
		}
		x, y := strings.TrimLeft(s[:i], "0"), strings.TrimLeft(t[:j], "0")
		if x != y {
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}
		s, t = s[i:], t[j:]
	}
	return cmp.Or(cmp.Compare(len(s), len(t)), cmp.Compare(n, other))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits counts the digits that s begins with.
func digits(s string) int {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return i
		}
	}
	return len(s)
}

// IsKeyword reports whether s is a keyword of device sets.
func IsKeyword(s string) bool { return slices.Contains(keywords, s) }

// Keywords returns the keywords of device sets.
func Keywords() []string { return slices.Clone(keywords) }
