// Package await tells who waits for work what that work waits for itself: an outlet that is
// off for a moment, a device that does not answer, a node that shuts down. Whom to tell is in
// the context of the work, so that what lies between need not know of it. Nobody is ever waited for.
package await

import (
	"context"
	"fmt"
)

// watcher is the key of what Watched keeps in a context.
type watcher struct{}

// Watched derives a context whose work calls begin when a node begins to wait, with for what,
// in words for users, and the function that this returns when it does not any more. Many
// call it at the same time, also when who watched has gone; it must not block.
func Watched(ctx context.Context, begin func(node, what string) (end func())) context.Context {
	return context.WithValue(ctx, watcher{}, begin)
}

// Begin tells who watches that a node waits, until end is called, for what the format says, as in
// "switching rack1:7 off". What begins within that takes its place as long as it lasts.
func Begin(ctx context.Context, node, format string, args ...any) (end func()) {
	begin, watched := ctx.Value(watcher{}).(func(node, what string) (end func()))
	if !watched {
		return func() {}
	}
	return begin(node, fmt.Sprintf(format, args...))
}
