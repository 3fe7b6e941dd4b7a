package nodes

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"walt/fault"
	"walt/state"
)

// PowerReport is what the server does with the power of ports.
type PowerReport struct {
	Ports []PoweredPort // by switch and number
	Saved time.Duration // for how long ports were off, all added up
}

// PoweredPort is a port that the server may switch.
type PoweredPort struct {
	Port
	Switch Name
	Node   Name      // that hangs on it, "" if none is known
	Power  string    // on, off, or what is about to be done
	Since  time.Time // of that, if it is not on
	Error  string    // why it is not done
}

// Power returns what the store knows of ports and their power.
func (l *Lab) Power(ctx context.Context) (report PowerReport, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		report = PowerReport{}
		open, err := openOrders(r)
		if err != nil {
			return err
		}
		found := map[string]PoweredPort{}
		all, err := everything(r)
		if err != nil {
			return err
		}
		for _, d := range which(all, func(d Device) bool { return true }) {
			controlled, err := control(r, d)
			if err != nil {
				return err
			}
			if p := found[d.Port.key()]; controlled {
				p.Port, p.Power = d.Port, "on"
				p.Node = cmp.Or(p.Node, d.Name)
				found[d.Port.key()] = p
			}
		}
		for key, o := range open {
			p := found[key]
			p.Port, p.Since, p.Error = portOf(key), o.Since, o.Error
			if p.Power = o.words(); !o.Cut.IsZero() {
				p.Since = o.Cut
				report.Saved += l.Now().Sub(o.Cut)
			}
			found[key] = p
		}
		for _, p := range found {
			if p.Switch, err = macs.Get(r, string(p.Port.Switch)); errors.Is(err, state.ErrNotFound) {
				p.Switch, err = Name(p.Port.Switch), nil
			}
			if err != nil {
				return err
			}
			report.Ports = append(report.Ports, p)
		}
		for e, err := range saved.Scan(r, "", "") {
			if err != nil {
				return err
			}
			report.Saved += e.Value
		}
		return nil
	})
	slices.SortFunc(report.Ports, func(a, b PoweredPort) int {
		return cmp.Or(naturally(a.Switch, b.Switch), cmp.Compare(a.Number, b.Number))
	})
	return report, err
}

// words tell what an order is about.
func (o order) words() string {
	switch {
	case o.Will == turnOff && !o.Cut.IsZero():
		return "off"
	case o.Will == turnOff:
		return "to be off"
	case o.Will == cycle:
		return "rebooting"
	}
	return "to be on"
}

// Woken returns the present state of nodes when those that were woken are up.
// One that does not come up in time is a fault.
func (l *Lab) Woken(ctx context.Context, nodes, woke Nodes) (Nodes, error) {
	var longest time.Duration
	for _, n := range woke {
		longest = max(longest, n.Settings.bootTimeout())
	}
	waiting, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	missing, err := l.Wait(waiting, woke, func(Nodes) {})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fault.Failedf("%s got its power back and was not up after %v", missing[0].Name, longest).
			WithHint("see what it is doing with: node show --all")
	case err != nil:
		return nil, err
	}
	var now Nodes
	err = l.Store.View(ctx, func(r state.Reader) error {
		var ds []Device
		for _, n := range nodes {
			d, err := get(r, n.Name)
			if err != nil {
				return err
			}
			ds = append(ds, d)
		}
		now, err = l.withStatus(r, ds)
		return err
	})
	return now, err
}
