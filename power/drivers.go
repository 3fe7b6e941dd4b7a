package power

import (
	"context"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/power/driver"
	"walt/state"
)

// SetDrivers has outlets be switched by these drivers from now on, but never those that feed the
// server. What could not be done by those that were before is tried again at once.
func (p *Ports) SetDrivers(all []driver.Driver, server driver.Supply) error {
	defer wake(p.driversSet)
	return p.Drivers.Set(all, server)
}

// Unswitchable returns the nodes whose power is unknown, as no driver that there is has their
// outlets, in order, and why that is so, in words for administrators.
func (p *Ports) Unswitchable(ctx context.Context) (nodes, why []string, err error) {
	err = p.Store.View(ctx, func(r state.Reader) error {
		nodes, why = nil, nil
		for e, err := range supplies.Scan(r, "", "") {
			if err != nil {
				return err
			}
			bad := p.Drivers.Check(e.Value.Outlets)
			if bad == nil {
				continue
			}
			name, err := p.name(r, ethernet.MAC(e.Key))
			if err != nil {
				return err
			}
			nodes = append(nodes, name)
			if reason := fault.Reason(bad); !slices.Contains(why, reason) {
				why = append(why, reason)
			}
		}
		return nil
	})
	slices.Sort(nodes)
	return nodes, why, err
}

// OutletBeginnings is what outlets begin with of the drivers that the server's file declares.
func (p *Ports) OutletBeginnings() []string { return p.Drivers.Beginnings() }

// FeedingOutlets returns the outlets that feed nodes, in the order of the rows of a store.
func FeedingOutlets(rows []state.Row) (all driver.Supply) {
	for _, row := range rows {
		if key, is := strings.CutPrefix(row.Key, feeds.Prefix("")); is {
			if o, err := driver.ParseOutlet(key); err == nil {
				all = append(all, o)
			}
		}
	}
	return all
}
