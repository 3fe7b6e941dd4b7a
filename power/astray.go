package power

import (
	"context"
	"errors"
	"time"

	"walt/state"
)

// astray is told of a node that something else feeds than its outlets.
const astray = "it runs on without that: something else feeds it"

// astrayAfter is for how long the outlets of a node are off before it is looked whether that goes
// on: its connection to the server ends earlier, even if it does not notice.
const astrayAfter = 30 * time.Second

// isAstray reports whether a node goes on though its outlets have been off for a while: they
// feed something else.
func (p *Ports) isAstray(ctx context.Context, port Port, did order) (bool, error) {
	if !port.fed() || did.Will != turnOff || did.off(p.Now()) < astrayAfter || !p.Devices.Runs(port.Switch) {
		return false, nil
	}
	woken, err := state.Read(ctx, p.Store, func(r state.Reader) (bool, error) { return p.Woken(r, port.Switch) })
	return !woken, err
}

// leaveOn orders that what was switched off to save power has it again, since somebody else may
// have lost it, and is not switched off for that any more until it is told anew what feeds the
// node.
func (p *Ports) leaveOn(ctx context.Context, port Port, did order) error {
	_, err := p.Store.Update(ctx, func(tx state.Tx) error {
		o, found, err := orders.Find(tx, port.key())
		if err != nil || !found || !o.same(did) {
			return err
		}
		s, err := p.SupplyOf(tx, port.Switch)
		if err != nil {
			return err
		}
		s.Astray = true
		o.Will, o.Since, o.Attended = turnOn, p.Now().UTC(), false
		return errors.Join(putSupply(tx, port.Switch, s), orders.Put(tx, port.key(), o),
			p.record(tx, target{}, port, o, "", astray+"; its power is not saved any more"))
	})
	return err
}
