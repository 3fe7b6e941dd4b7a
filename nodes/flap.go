package nodes

import (
	"fmt"
	"time"
)

// Of a node that comes up and goes down all the time, as with a loose contact, the
// log tells so many edges in such a time, and of all others in it together the last.
const (
	flapEdges = 60
	flapTime  = time.Minute
)

// flap is how often a node came up or went down, or failed to start, in a flapTime.
type flap struct {
	began time.Time
	told  int
	held  int  // that are not told one by one
	last  edge // of those
}

// hold counts an edge, and keeps it back when the log was told of many of its node.
// The board is locked.
func (b *board) hold(e edge) bool {
	f := b.flaps[e.node]
	if f.held == 0 && b.now().Sub(f.began) >= flapTime {
		f = flap{began: b.now()}
	}
	held := f.told >= flapEdges
	if held {
		f.held, f.last = f.held+1, e
	} else {
		f.told++
	}
	b.flaps[e.node] = f
	return held
}

// release has the log told of the edges that were held back for long enough, or of
// all of them, and returns how long it is until the next ones are, if there are any.
func (b *board) release(all bool) (pause time.Duration, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause = flapTime
	for n, f := range b.flaps {
		due := f.began.Add(flapTime).Sub(b.now())
		switch {
		case !all && due > 0:
			if f.held > 0 {
				pause, some = min(pause, due), true
			}
			continue
		case f.held > 0:
			f.last.cause.why += fmt.Sprintf("; it came up or went down %d more times within %v", f.held, flapTime)
			b.edges = append(b.edges, f.last)
			b.wakeLog()
		}
		delete(b.flaps, n)
	}
	return pause, some
}

// fail counts a failed start, and reports whether the log is to be told of it: of a
// node that fails again and again it is told flapEdges times in a flapTime, and then,
// with more, how many others there were.
func (b *board) fail(n Name) (more string, tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.fails[n]
	if b.now().Sub(f.began) >= flapTime {
		if f.held > 0 {
			more = fmt.Sprintf("; before that it failed %d more times", f.held)
		}
		f = flap{began: b.now()}
	}
	if tell = f.told < flapEdges; tell {
		f.told++
	} else {
		f.held++
	}
	b.fails[n] = f
	return more, tell
}
