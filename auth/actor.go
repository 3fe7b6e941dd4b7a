package auth

import (
	"walt/journal"
	"walt/state"
)

// Actor is who makes a change: a user, by name, or the server by itself. It is
// what the journal calls the actor of an event.
type Actor string

// Server is the actor of what nobody asked for at that moment, as the end of a
// time that a user set. No user can have this name.
const Server Actor = journal.Server

// User is the user who acts, "" when it is the server.
func (a Actor) User() Name {
	if a == Server {
		return ""
	}
	return Name(a)
}

// Admit returns a fault when a user who acts is no longer one: sessions and
// questions last longer than users. The server may always act.
func (a Actor) Admit(r state.Reader) error {
	if a == Server {
		return nil
	}
	return Member(r, Name(a))
}

// Words name the actor in a sentence.
func (a Actor) Words() string {
	if a == Server {
		return "the server"
	}
	return string(a)
}
