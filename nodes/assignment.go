package nodes

import (
	"slices"
	"strings"

	"walt/fault"
)

// Assignment is a setting and the value that it is to have.
type Assignment struct {
	Key, Value string
}

// ParseAssignments parses words like "snmp.version=2", or words that are only
// keys, but not both. Faults do not show values: they may be secret; that of an
// unknown key tells those that known returns.
func ParseAssignments(words []string, known func() []string) (all []Assignment, keys []string, err error) {
	for _, w := range words {
		key, value, assigns := strings.Cut(w, "=")
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.Key == key }) {
			return nil, nil, unknownSetting(key, known())
		}
		if slices.Contains(keys, key) {
			return nil, nil, fault.Usagef("%s is given twice", key)
		}
		keys = append(keys, key)
		if assigns {
			all = append(all, Assignment{key, value})
		}
	}
	if len(all) > 0 && len(all) < len(keys) {
		i := slices.IndexFunc(words, func(w string) bool { return !strings.Contains(w, "=") })
		return nil, nil, fault.Usagef("%s has no value", words[i]).WithHint("it looks like KEY=VALUE; to see settings, name them alone")
	}
	return all, keys, nil
}

func unknownSetting(key string, known []string) *fault.Error {
	f := fault.Usagef("unknown setting %.40q", key).WithHint("allowed are %s", strings.Join(known, ", "))
	if near := fault.Nearest(key, known); len(near) > 0 {
		f = f.WithHint("did you mean %s?\n%s", strings.Join(near, " or "), f.Hint)
	}
	return f
}
