package nodes

import (
	"log/slog"
	"sync/atomic"
)

// unnoted tells the server's log that the store does not take what is noted of nodes, as
// when its disk is full: once until it takes something again, rather than for each node.
type unnoted struct{ told atomic.Bool }

// because logs what was not noted, of which node, and why; of a nil error, that it was.
func (u *unnoted) because(log *slog.Logger, err error, what string, n Name) {
	switch {
	case err == nil:
		u.told.Store(false)
	case !u.told.Swap(true):
		log.Error(what+"; others like this are not told until one is noted again", "node", n, "err", err)
	}
}
