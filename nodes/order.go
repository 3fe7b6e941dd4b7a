package nodes

import (
	"context"
	"errors"
	"time"

	"walt/state"
)

// will is what is to become of a port.
type will string

const (
	turnOff will = "off"
	turnOn  will = "on"
	cycle   will = "cycle" // off for a moment
)

// order is the durable intent about a port: it is in the store as long as the
// port is meant to be without power, or is not known to have it. A port without
// one has power.
type order struct {
	Will  will      `json:"will"`
	Node  Name      `json:"node"`           // for whose sake
	Since time.Time `json:"since"`          // of the order
	Cut   time.Time `json:"cut,omitzero"`   // since when the port is known to be off
	Error string    `json:"error,omitzero"` // why it could not be done yet
}

func (o order) same(as order) bool { return o.Will == as.Will && o.Since.Equal(as.Since) }

var (
	orders = state.NewTable[order]("order") // by Port.key
	// saved is for how long the ports of each switch were off so far, by its MAC.
	saved = state.NewTable[time.Duration]("saved")
)

// plan orders within tx that a node gets its power back if that may be off; with
// again, that it is cut for a moment if it may be on. planned says that there is
// something for apply to do.
func (l *Lab) plan(tx state.Tx, d Device, again bool) (planned bool, err error) {
	if controlled, err := control(tx, d); err != nil || !controlled {
		return false, err
	}
	o, err := orders.Get(tx, d.Port.key())
	missing := errors.Is(err, state.ErrNotFound)
	if err != nil && !missing {
		return false, err
	}
	switch {
	case missing && !again:
		return false, nil
	case again && o.Cut.IsZero():
		o.Will = cycle
	case o.Will == turnOff:
		o.Will = turnOn
	default:
		return true, nil
	}
	o.Node, o.Since = d.Name, l.Now().UTC()
	return true, orders.Put(tx, d.Port.key(), o)
}

// giveBack orders within tx that a port gets its power back if that was cut:
// nobody is to be without power because of what hung there before.
func (l *Lab) giveBack(tx state.Tx, p Port) error {
	o, err := orders.Get(tx, p.key())
	if errors.Is(err, state.ErrNotFound) || err == nil && o.Will != turnOff {
		return nil
	}
	if err != nil {
		return err
	}
	o.Will, o.Since = turnOn, l.Now().UTC()
	return orders.Put(tx, p.key(), o)
}

// orders returns all open orders by Port.key.
func (l *Lab) orders(ctx context.Context) (all map[string]order, err error) {
	err = l.Store.View(ctx, func(r state.Reader) (err error) {
		all, err = openOrders(r)
		return err
	})
	return all, err
}

func openOrders(r state.Reader) (map[string]order, error) {
	all := map[string]order{}
	for e, err := range orders.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		all[e.Key] = e.Value
	}
	return all, nil
}
