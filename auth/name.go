package auth

import (
	"regexp"
	"slices"

	"walt/fault"
)

// Name is the valid name of a user.
type Name string

// Nobody is the owner of what is free: the default images and the nodes that
// boot them. It is not a user; nobody can have this name.
const Nobody Name = "waltplatform"

// Everybody are all users, whoever these are by then. No user can be added by this name.
const Everybody Name = "all"

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	reserved = []string{string(Nobody), "walt", "default", "server", "root", "docker", "hub"}
)

// ParseName checks the form of a user's name: a lower-case letter, then
// lower-case letters, digits and "-", 1 to 32 in all, not ending in "-", and
// not one of the reserved words.
func ParseName(s string) (Name, error) {
	if !nameForm.MatchString(s) || s[len(s)-1] == '-' {
		return "", fault.Usagef("invalid user name %q", s).
			WithHint("a user name is a lower-case letter, then lower-case letters, digits or -,\n1 to 32 in all, and does not end in -")
	}
	if slices.Contains(reserved, s) {
		return "", fault.Usagef("the user name %q is reserved", s).WithHint("choose another name")
	}
	return Name(s), nil
}
