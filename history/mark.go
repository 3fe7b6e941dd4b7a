package history

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/state"
)

// Mark is a moment that a user gave a name.
type Mark struct {
	Name string    `json:"name"` // without its @
	Time time.Time `json:"time"` // UTC
}

// marks holds those of each user, the oldest first.
var marks = state.NewTable[[]Mark]("mark")

// mostMarks is how many moments a user may have marked.
const mostMarks = 200

var markForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ParseMark checks the name of a mark, without its @.
func ParseMark(name string) error {
	if !markForm.MatchString(name) || strings.Contains(name, "..") { // which joins two
		return fault.Usagef("%.80q is not the name of a mark", "@"+name).WithHint("it is 1 to 64 letters, digits, underscores, dashes and single dots, behind a @, as in @exp1")
	}
	return nil
}

// Marks returns the moments that the user marked, the oldest first.
func (h *History) Marks(ctx context.Context, user auth.Name) ([]Mark, error) {
	return state.Read(ctx, h.store, func(r state.Reader) ([]Mark, error) {
		all, _, err := marks.Find(r, string(user))
		return all, err
	})
}

// Mark gives a moment a name, also one that stood for another before.
func (h *History) Mark(ctx context.Context, user auth.Name, m Mark) error {
	return h.remark(ctx, user, func(all []Mark) ([]Mark, error) {
		all = slices.DeleteFunc(all, func(old Mark) bool { return old.Name == m.Name })
		if len(all) >= mostMarks {
			return nil, fault.Failedf("you have %d marks, which is the most; nothing changed", len(all)).WithHint("remove those that are not used: log mark --remove @%s", all[0].Name)
		}
		all = append(all, m)
		slices.SortStableFunc(all, func(a, b Mark) int { return a.Time.Compare(b.Time) })
		return all, nil
	})
}

// Unmark removes a mark.
func (h *History) Unmark(ctx context.Context, user auth.Name, name string) error {
	return h.remark(ctx, user, func(all []Mark) ([]Mark, error) {
		if _, err := find(all, name); err != nil {
			return nil, err
		}
		return slices.DeleteFunc(all, func(old Mark) bool { return old.Name == name }), nil
	})
}

// Marked returns the moment that the user gave a name.
func (h *History) Marked(ctx context.Context, user auth.Name, name string) (time.Time, error) {
	if err := ParseMark(name); err != nil {
		return time.Time{}, err
	}
	all, err := h.Marks(ctx, user)
	if err != nil {
		return time.Time{}, err
	}
	m, err := find(all, name)
	return m.Time, err
}

func find(all []Mark, name string) (Mark, error) {
	i := slices.IndexFunc(all, func(m Mark) bool { return m.Name == name })
	if i >= 0 {
		return all[i], nil
	}
	var known []string
	for _, m := range all {
		known = append(known, "@"+m.Name)
	}
	return Mark{}, fault.Unknown("mark", []string{"@" + name}, known, "see yours with: log marks\nmark this moment with: log mark @"+name)
}

// remark changes the marks of a user, if there is such a user yet.
func (h *History) remark(ctx context.Context, user auth.Name, change func([]Mark) ([]Mark, error)) error {
	_, err := h.store.Update(ctx, func(tx state.Tx) error {
		known, err := auth.Exists(tx, user)
		if err != nil || !known {
			return err
		}
		all, _, err := marks.Find(tx, string(user))
		if err != nil {
			return err
		}
		if all, err = change(all); err != nil {
			return err
		}
		return marks.Put(tx, string(user), all)
	})
	return err
}
