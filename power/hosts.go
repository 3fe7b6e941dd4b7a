package power

import (
	"context"
	"maps"
	"net"
	"slices"

	"walt/state"
)

// Hosts are the addresses and names of what gives nodes their power as far as the store knows
// it: of switches, and of the devices that outlets name. They are in order, without ports.
func (p *Ports) Hosts(ctx context.Context) ([]string, error) {
	return state.Read(ctx, p.Store, func(r state.Reader) ([]string, error) {
		found := map[string]bool{}
		for e, err := range switches.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			host, _, err := net.SplitHostPort(e.Value.Address)
			if err != nil { // it has no port
				host = e.Value.Address
			}
			found[host] = true
		}
		for e, err := range supplies.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			for _, o := range e.Value.Outlets {
				found[o.Host] = true
			}
		}
		delete(found, "")
		return slices.Sorted(maps.Keys(found)), nil
	})
}

// WatchHosts watches for what may change the hosts.
func (p *Ports) WatchHosts() *state.Watch {
	return p.Store.Watch(switches.Prefix(""), supplies.Prefix(""))
}
