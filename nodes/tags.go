package nodes

import (
	"context"
	"regexp"
	"slices"

	"walt/fault"
)

var tagForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// ParseTag checks the form of a tag: 1 to 40 of lower-case letters, digits, ".", "_" and
// "-", first a letter or a digit.
func ParseTag(s string) (string, error) {
	if !tagForm.MatchString(s) {
		return "", fault.Usagef("invalid tag %.70q", s).WithHint("a tag is 1 to 40 letters, digits, ., _ or -, first a letter or a digit, as in lora or rack-3")
	}
	return s, nil
}

// Tags returns the tags that devices have, each once, in order.
func (l *Lab) Tags(ctx context.Context) ([]string, error) {
	return read(ctx, l.view, func() (all []string) {
		for _, b := range l.view.all {
			all = append(all, b.device.Tags()...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	})
}
