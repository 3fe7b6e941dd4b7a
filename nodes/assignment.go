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

const bootArgsKey = "boot.args"

// ParseAssignments parses words like "snmp.version=2", or words that are only
// keys, but not both. Faults do not show values: they may be secret; that of an
// unknown key tells those that known returns.
func ParseAssignments(words []string, known func() []string) (all []Assignment, keys []string, err error) {
	for i, w := range words {
		key, value, assigns := strings.Cut(w, "=")
		if !isSetting(key) {
			return nil, nil, unknownSetting(key, known(), words[:i])
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
		return nil, nil, noValue(words[i])
	}
	return all, keys, nil
}

func isSetting(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return s.Key == key })
}

// unknownSetting is the fault for a word that is no setting, behind others that are: it may
// be the value of the last of them, or belong to that.
func unknownSetting(key string, known, before []string) *fault.Error {
	f := fault.Usagef("unknown setting %.40q", key).WithHint("allowed are %s", strings.Join(known, ", "))
	if len(before) > 0 {
		last := before[len(before)-1]
		switch of, _, assigns := strings.Cut(last, "="); {
		case !assigns:
			return noValue(last)
		case strings.HasSuffix(last, ","), strings.HasSuffix(last, "+"), strings.HasPrefix(key, "+"):
			return f.WithHint("a list has no blanks, also not beside its commas and +")
		case of == bootArgsKey:
			return f.WithHint("quote a value that has blanks, and the command for ssh: ssh walt@SERVER \"node config rpi-3 boot.args='quiet loglevel=3'\"")
		}
	}
	if near := fault.Nearest(key, known); len(near) > 0 {
		f = f.WithHint("did you mean %s?\n%s", strings.Join(near, " or "), f.Hint)
	}
	return f
}

func noValue(key string) *fault.Error {
	return fault.Usagef("%s has no value", key).WithHint("it looks like KEY=VALUE; to see settings, name them alone")
}

// SettingFirst reports whether words that should be a set are a setting with a value.
func SettingFirst(set string) bool {
	key, _, assigns := strings.Cut(set, "=")
	return assigns && isSetting(key)
}
