package state

import "context"

// Duties says which server of those on one store does what must be done by one
// of them only, as switching the ports of the lab.
type Duties interface {
	// Hold runs f while this server has the duty of that name, until ctx ends or
	// f returns an error, which it returns. The context of f ends when the duty
	// passes to another server; f runs again when it comes back.
	Hold(ctx context.Context, name string, f func(context.Context) error) error
}

// Alone is Duties for the only server on a store: it has each of them at once
// and keeps it.
type Alone struct{}

// Hold runs f.
func (Alone) Hold(ctx context.Context, _ string, f func(context.Context) error) error { return f(ctx) }
