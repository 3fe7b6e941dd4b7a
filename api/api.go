// Package api is what programs read: the documents of --json, and how they are
// made from what the lab knows. It asks nothing and decides nothing; whoever
// shows a document (the commands) gets the values and hands them in. Its one
// surprising rule: what it says is a promise to scripts, so fields are added and
// never renamed or removed, and topic "ci" describes them to users.
//
// In every document times are RFC 3339 in UTC, sizes are bytes, lists are never
// null, and what a thing does not have is null. Names of images carry their tag,
// as in alice/debian:latest.
package api

import "walt/auth"

// orNull is nil for the zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// ownerOrNull is nil for what is free.
func ownerOrNull(n auth.Name) *auth.Name {
	if n == auth.Nobody {
		return nil
	}
	return orNull(n)
}
