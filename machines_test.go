package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"walt/vnode/lan"
)

// testNetwork is a network that runs until the test ends, and how often it was served.
func testNetwork(t *testing.T) (*network, *atomic.Int32) {
	t.Helper()
	served := new(atomic.Int32)
	n := newNetwork(lan.Config{Subnet: netip.MustParsePrefix("10.217.0.0/24"), Log: slog.New(slog.DiscardHandler)},
		func(ctx context.Context, _ *lan.LAN) error {
			served.Add(1)
			<-ctx.Done()
			return nil
		})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.close()
	})
	return n, served
}

// The network of machines is made once, when the first of them need it, whatever was
// set before.
func TestNetworkIsMadeOnce(t *testing.T) {
	t.Parallel()
	n, served := testNetwork(t)
	if err := n.setNAT(true); err != nil || n.lan != nil {
		t.Fatalf("it is there before anybody needs it, %v", err)
	}
	var all sync.WaitGroup
	got := make([]*lan.LAN, 8)
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = n.get(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, l := range got {
		if l == nil || l != got[0] {
			t.Fatal("there are several networks")
		}
	}
	if err := n.setNAT(false); err != nil || served.Load() > 1 {
		t.Errorf("served %d times, %v", served.Load(), err)
	}
}

// A lab without machines has none, and who does not want to wait for one does not.
func TestNetworkThatNobodyNeeds(t *testing.T) {
	t.Parallel()
	if n, _ := testNetwork(t); n.lan != nil {
		t.Error("it is there")
	}
	idle := newNetwork(lan.Config{}, nil) // it does not run
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := idle.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody makes it: %v", err)
	}
	idle.close()
}
