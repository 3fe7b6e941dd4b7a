package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/config"
	"walt/power"
)

const (
	// guardEvery is how often the names of what gives nodes their power are looked up again.
	guardEvery = time.Minute
	// lookupLimit is how long that may take for one, and lookupsAtOnce for how many at once.
	lookupLimit, lookupsAtOnce = 5 * time.Second, 8
)

// guard keeps the machines of the private network from what gives nodes their power: whoever
// has a node would else have the others, too.
type guard struct {
	ports  *power.Ports
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	log    *slog.Logger
	wake   chan struct{} // holds a token when the drivers changed

	mu      sync.Mutex
	drivers []string // their hosts

	known   map[string][]netip.Addr // what names led to last; of run alone
	guarded atomic.Pointer[map[netip.Addr]bool]
}

func newGuard(p *power.Ports, log *slog.Logger) *guard {
	return &guard{ports: p, lookup: net.DefaultResolver.LookupNetIP, log: log, wake: make(chan struct{}, 1), known: map[string][]netip.Addr{}}
}

// has reports whether an address is guarded: any is until it is known which are.
func (g *guard) has(a netip.Addr) bool {
	all := g.guarded.Load()
	return all == nil || (*all)[a]
}

// set has the drivers be these.
func (g *guard) set(c config.Power) {
	g.mu.Lock()
	g.drivers = hostsOf(c)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run follows the hosts until ctx ends.
func (g *guard) run(ctx context.Context) error {
	watch := g.ports.WatchHosts()
	defer watch.Close()
	for {
		for ok := true; ok; {
			var err error
			if _, ok, err = watch.Take(); err != nil {
				return err
			}
		}
		if err := g.look(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("find what gives nodes their power", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
		case <-g.wake:
		case <-time.After(guardEvery):
		}
	}
}

// look finds the addresses of all hosts. A name that is not known now leads where it led before.
func (g *guard) look(ctx context.Context) error {
	hosts, err := g.ports.Hosts(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	hosts = append(hosts, g.drivers...)
	g.mu.Unlock()
	found := make([][]netip.Addr, len(hosts))
	for i, host := range hosts {
		if a, err := netip.ParseAddr(host); err == nil {
			found[i] = []netip.Addr{a}
		} else {
			found[i] = g.known[host]
		}
	}
	if g.guarded.Load() != nil { // before lookups, which may take long; at the start any is until these ended
		g.guard(found)
	}
	var lookups errgroup.Group
	lookups.SetLimit(lookupsAtOnce)
	for i, host := range hosts {
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		lookups.Go(func() error {
			limited, cancel := context.WithTimeout(ctx, lookupLimit)
			defer cancel()
			if all, err := g.lookup(limited, "ip4", host); err == nil {
				found[i] = all
			}
			return nil
		})
	}
	_ = lookups.Wait()
	g.guard(found)
	clear(g.known)
	for i, host := range hosts {
		g.known[host] = found[i]
	}
	return nil
}

func (g *guard) guard(found [][]netip.Addr) {
	all := map[netip.Addr]bool{}
	for _, some := range found {
		for _, a := range some {
			all[a.Unmap()] = true
		}
	}
	g.guarded.Store(&all)
}
