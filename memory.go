package main

import (
	"context"
	"runtime/metrics"
	"time"

	"walt/pause"
)

// giveBackEvery is how often it is looked whether the server rests.
const giveBackEvery = time.Minute

// giveBack calls free, which gives unused memory to the system, whenever the server rests
// after much work, until ctx ends. By itself the runtime collects what nobody uses any more
// when as much again was allocated, which at rest takes hours, and keeps memory to go on
// as before.
func giveBack(ctx context.Context, free func()) error {
	var w work
	for pause.For(ctx, giveBackEvery) == nil {
		if w.over(readHeap()) {
			free()
		}
	}
	return nil
}

// heap is what the runtime tells of it.
type heap struct {
	allocated uint64 // bytes since the start
	room      uint64 // bytes that may be allocated before the garbage of them is collected
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	goal, live := s[1].Value.Uint64(), s[2].Value.Uint64()
	return heap{s[0].Value.Uint64(), goal - min(goal, live)}
}

// work is how much was allocated when it was looked last, and when memory was given back.
type work struct{ looked, freed uint64 }

// over reports whether next to nothing was allocated since the last call, and before that,
// since it last was over, enough to leave memory behind.
func (w *work) over(h heap) bool {
	rests := h.allocated-w.looked < h.room/10
	w.looked = h.allocated
	if !rests || h.allocated-w.freed < h.room {
		return false
	}
	w.freed = h.allocated
	return true
}
