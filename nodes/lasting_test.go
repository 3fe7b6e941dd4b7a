package nodes

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"walt/images"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// lasting runs nodes that outlive the server.
type lasting struct {
	grid
	runs    atomic.Bool // the machine of an earlier server
	resumed atomic.Int32
}

func (h *lasting) Resume(context.Context, Name) bool {
	h.resumed.Add(1)
	return h.runs.Load()
}

// A node that goes on without the server is up for the next one as soon as it
// answers, without a start and without a word in the log; one that is to boot
// something else by now, or is gone, is started.
func TestNodesThatOutliveTheServer(t *testing.T) {
	t.Parallel()
	store, err := badger.OpenMemory()
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	var answers atomic.Bool
	// serve runs a server until done says so.
	serve := func(host *lasting, done func(testLab) bool) {
		t.Helper()
		l := over(store, time.Now, newShelf())
		host.lab = l.Lab
		l.Hosts[QEMU] = host
		l.Dial = func(context.Context, string, string) (net.Conn, error) {
			if !answers.Load() {
				return nil, errors.New("it is still busy")
			}
			here, _ := net.Pipe()
			return here, nil
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Lab.Run(ctx) }()
		for end := time.Now().Add(time.Minute); !done(l); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("not in time")
				break
			}
		}
		stop()
		ok(t, <-ended)
	}
	isUp := func(l testLab) bool {
		found, err := l.Named(t.Context(), []Name{"vm1"})
		ok(t, err)
		return found[0].State == Up
	}
	events := func() (n int) {
		log := journal.New(store, time.Now)
		ok(t, log.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
			if e.Type == journal.State {
				n++
			}
			return nil
		})))
		return n
	}

	first := new(lasting)
	l := over(store, time.Now, newShelf())
	ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
	l.image(t, defaultOf("m1"))
	l.Hosts[QEMU] = first
	first.dead = true
	_, err = l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	first.dead = false
	serve(first, isUp)
	if n := events(); n != 1 || first.resumed.Load() != 0 {
		t.Fatalf("a node that never ran: %d events, resumed %d times", n, first.resumed.Load())
	}

	second := new(lasting)
	second.runs.Store(true)
	answers.Store(true)
	serve(second, isUp)
	if n := events(); n != 1 || len(second.started) > 0 {
		t.Errorf("a node that went on: %d events, started %v", n, second.started)
	}

	// It is up for whoever asks first, whether or not it answers already.
	silent := new(lasting)
	silent.runs.Store(true)
	answers.Store(false)
	serve(silent, func(l testLab) bool {
		<-l.Found()
		if !isUp(l) {
			t.Error("a node that goes on is not up when it is found")
		}
		return true
	})
	answers.Store(true)
	if n := events(); n != 1 || len(silent.started) > 0 {
		t.Errorf("a node that goes on and is busy: %d events, started %v", n, silent.started)
	}

	third := new(lasting) // its machine is gone
	serve(third, isUp)
	if len(third.started) != 1 {
		t.Errorf("a node that is gone was started %v", third.started)
	}

	_, err = store.Update(t.Context(), func(tx state.Tx) error {
		img := defaultOf("m1")
		img.Digest = "sha256:another"
		return images.Put(tx, img)
	})
	ok(t, err)
	fourth := new(lasting)
	fourth.runs.Store(true)
	serve(fourth, isUp)
	if len(fourth.started) != 1 || fourth.resumed.Load() != 0 {
		t.Errorf("a node whose image changed: started %v, resumed %d times", fourth.started, fourth.resumed.Load())
	}
}
