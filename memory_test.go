package main

import (
	"context"
	"testing"
	"testing/synctest"
)

// Memory is given back once after work, not while it goes on, and not at rest.
func TestWorkIsOver(t *testing.T) {
	var w work
	for i, step := range []struct {
		allocated uint64
		over      bool
	}{
		{1000, false}, {1005, true}, // started
		{1010, false}, {1019, false}, // at rest
		{1300, false}, {1600, false}, {1620, false}, {1625, true}, // worked
		{1630, false}, {1700, false}, {1705, false}, // a little
		{1730, false}, {1735, true}, // and a little more
	} {
		if over := w.over(heap{allocated: step.allocated, room: 100}); over != step.over {
			t.Errorf("look %d: over is %v", i, over)
		}
	}
}

// garbage is what a test leaves behind.
var garbage []byte

func TestGiveBack(t *testing.T) {
	given := 0
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- giveBack(ctx, func() { given++; cancel() }) }()
		for before := readHeap(); readHeap().allocated-before.allocated <= 2*readHeap().room; {
			garbage = make([]byte, 1<<20)
		}
		if err := <-done; err != nil { // which never comes if nothing is given back
			t.Error(err)
		}
	})
	if given != 1 {
		t.Errorf("memory was given back %d times", given)
	}
}
