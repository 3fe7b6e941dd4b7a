// Package consent says what a user agreed to before a command disturbs others:
// the facts that were shown, and whether they still hold. It asks nobody by
// itself: it is given a way to ask. Its one surprising rule: agreeing
// to facts is not agreeing to others, so any change of them is a new question.
// Who counts as disturbed is said by nodes/disturbed.go, of nodes that change hands,
// and by images/clone.go and images/update.go, of an image that is overwritten.
package consent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"walt/auth"
)

// Claim is a node of a request that belongs to another user.
type Claim struct {
	Node  string
	Owner auth.Name
	Since time.Time // when it became theirs
	Note  string    // of them on it, see nodes.ParseNote; "": none
	// Of is the device of the request that the node depends on, or several with ", " between, and
	// Where the port that it is connected to; "" when it is asked about the node itself.
	Of, Where string
	// Becomes is what the request does to it besides what it is about, in words for users as
	// in "loses its power, too (rack1:7)"; "" when it is about the node. It may be anybody's then.
	Becomes string
	// Uses is what it does with what the request is about, in words for users as in
	// "boots bob/bare with the kernel of red"; "" when that is known.
	Uses string
}

// Agreement is what a user agreed to: to disturb whoever is there, or exactly the
// owners who were shown. The zero Agreement disturbs nobody.
type Agreement struct {
	Whoever bool
	Shown   []Claim
	Because string // nobody was asked, and why, for the journal
}

// Error says that a request would disturb others, and nothing was done.
type Error struct {
	Nodes []Claim // in natural order
	Shown []Claim // what the user agreed to, and is no longer how it is; none when nobody was asked yet
}

func (e *Error) Error() string { return fmt.Sprintf("%d nodes belong to others", len(e.Nodes)) }

// On is the part of an agreement that is about one node.
func (g Agreement) On(node string) Agreement {
	g.Shown = slices.DeleteFunc(slices.Clone(g.Shown), func(c Claim) bool { return c.Node != node })
	return g
}

// Check compares what the request would disturb with what the user agreed to;
// it returns an *Error when that is not the same.
func (g Agreement) Check(claims []Claim) error {
	same := func(a, b Claim) bool {
		since := a.Since.Equal(b.Since)
		a.Since = b.Since
		return since && a == b
	}
	if len(claims) == 0 || g.Whoever || slices.EqualFunc(g.Shown, claims, same) {
		return nil
	}
	return &Error{Nodes: claims, Shown: g.Shown}
}

// Seek calls do with what was given. While that is not enough it asks whether to
// do it all the same, and calls do again with what the user agreed to. It returns
// what was given in the end. A nil ask agrees to nothing, and so do its errors.
func Seek(given Agreement, ask func(*Error) error, do func(Agreement) error) (Agreement, error) {
	for {
		err := do(given)
		contest, is := errors.AsType[*Error](err)
		if !is || ask == nil {
			return given, err
		}
		if err := ask(contest); err != nil {
			return given, err
		}
		given.Shown = contest.Nodes
	}
}

// Manner says how the disturbing of an owner was agreed to, for the journal.
func (g Agreement) Manner() string {
	switch {
	case g.Because != "":
		return g.Because
	case g.Whoever:
		return "confirmed in advance with --yes"
	}
	return "confirmed when asked"
}
