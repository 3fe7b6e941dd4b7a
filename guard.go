package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/config"
	"walt/fault"
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
	lookup lookup
	log    *slog.Logger
	wake   chan struct{} // holds a token when the drivers changed
	// changed is called when other addresses may be guarded; it is set before run.
	changed func()

	mu      sync.Mutex
	drivers []string // their hosts

	known   map[string][]netip.Addr // what hosts led to last; of run alone, as unknown
	unknown []string                // the names of which the log told last
	guarded atomic.Pointer[map[netip.Addr]bool]
}

// lookup finds the addresses of a host, as net.Resolver.LookupNetIP does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

func newGuard(p *power.Ports, log *slog.Logger) *guard {
	return &guard{ports: p, lookup: net.DefaultResolver.LookupNetIP, log: log, wake: make(chan struct{}, 1), changed: func() {}}
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
	before := map[string][]netip.Addr{}
	for _, host := range hosts {
		if a, err := netip.ParseAddr(host); err == nil {
			before[host] = []netip.Addr{a}
		} else if some, known := g.known[host]; known {
			before[host] = some
		}
	}
	if g.guarded.Load() != nil { // before lookups, which may take long; at the start any is until these ended
		g.guard(before)
	}
	found, unknown := lookUp(ctx, g.lookup, hosts)
	for host, some := range before {
		if _, is := unknown[host]; is {
			found[host] = some
			delete(unknown, host)
		}
	}
	g.guard(found)
	g.known = found
	if ctx.Err() == nil {
		g.tell(unknown)
	}
	return nil
}

func (g *guard) guard(found map[string][]netip.Addr) {
	all := map[netip.Addr]bool{}
	for _, some := range found {
		for _, a := range some {
			all[a.Unmap()] = true
		}
	}
	g.guarded.Store(&all)
	g.changed()
}

// tell has the log name the hosts that are not guarded, when these are others than before.
func (g *guard) tell(unknown map[string]string) {
	names := slices.Sorted(maps.Keys(unknown))
	if slices.Equal(names, g.unknown) {
		return
	}
	if g.unknown = names; len(names) > 0 {
		g.log.Warn("what gives nodes their power is not known by its name: it is not switched, and machines are not kept from it", "names", fault.Few(names), "why", unknown[names[0]])
	}
}

// lookUp finds the addresses of hosts, and why there are none of the others, in words.
func lookUp(ctx context.Context, lookup lookup, hosts []string) (found map[string][]netip.Addr, unknown map[string]string) {
	found, unknown = map[string][]netip.Addr{}, map[string]string{}
	var mu sync.Mutex
	var lookups errgroup.Group
	lookups.SetLimit(lookupsAtOnce)
	for _, host := range slices.Compact(slices.Sorted(slices.Values(hosts))) {
		if a, err := netip.ParseAddr(host); err == nil {
			mu.Lock()
			found[host] = []netip.Addr{a}
			mu.Unlock()
			continue
		}
		lookups.Go(func() error {
			limited, cancel := context.WithTimeout(ctx, lookupLimit)
			defer cancel()
			all, err := lookup(limited, "ip4", host)
			if err != nil { // machines are led to addresses of IPv4 alone, but it may have another
				if six, none := lookup(limited, "ip6", host); none == nil {
					all, err = six, nil
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				found[host] = all
				return nil
			}
			unknown[host] = err.Error()
			if dns, is := errors.AsType[*net.DNSError](err); is {
				unknown[host] = dns.Err
			}
			return nil
		})
	}
	_ = lookups.Wait()
	return found, unknown
}
