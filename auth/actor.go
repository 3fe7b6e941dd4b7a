package auth

import (
	"walt/journal"
	"walt/state"
)

// Actor is the user as the one who makes a change.
func (n Name) Actor() journal.Actor { return journal.Actor(n) }

// UserOf is the user who acts, "" when it is the server.
func UserOf(actor journal.Actor) Name {
	if actor == journal.Server {
		return ""
	}
	return Name(actor)
}

// Admit returns a fault when a user who acts is no longer one: sessions and
// questions last longer than users. The server may always act.
func Admit(r state.Reader, actor journal.Actor) error {
	if actor == journal.Server {
		return nil
	}
	return Member(r, Name(actor))
}
