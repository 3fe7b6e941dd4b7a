package nodes

import (
	"fmt"
	"slices"
	"time"

	"walt/auth"
)

// Contested is a node of a request that belongs to another user.
type Contested struct {
	Node  Name
	Owner auth.Name
	Since time.Time // when it became theirs
}

// Consent is what a user agreed to: to disturb whoever is there, or exactly the
// owners who were shown. The zero Consent disturbs nobody.
type Consent struct {
	Whoever bool
	Shown   []Contested
	because string // nobody was asked, and why, for the journal
}

// ContestError says that a request would disturb others, and nothing was done.
type ContestError struct {
	Nodes   []Contested // in natural order
	Changed bool        // what the user agreed to is no longer how it is
}

func (e *ContestError) Error() string {
	return fmt.Sprintf("%d nodes belong to others", len(e.Nodes))
}

// check compares what the request would disturb with what the user agreed to.
func (c Consent) check(contested []Contested) error {
	same := func(a, b Contested) bool {
		return a.Node == b.Node && a.Owner == b.Owner && a.Since.Equal(b.Since)
	}
	if len(contested) == 0 || c.Whoever || slices.EqualFunc(c.Shown, contested, same) {
		return nil
	}
	return &ContestError{Nodes: contested, Changed: len(c.Shown) > 0}
}

// manner says how the disturbing of an owner was agreed to, for the journal.
func (c Consent) manner() string {
	if c.because != "" {
		return c.because
	}
	if c.Whoever {
		return "confirmed in advance with --yes"
	}
	return "confirmed when asked"
}

// contested lists those of the devices that belong to others than the user.
func contested(ds []Device, user auth.Name) (all []Contested) {
	for _, d := range ds {
		if d.contested(user) {
			all = append(all, Contested{d.Name, d.Owner(), d.Since})
		}
	}
	return all
}
