package power

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"walt/await"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power/driver"
	"walt/power/snmp"
	"walt/state"
)

// portLimit is how long one port may take, its switch being silent.
const portLimit = 30 * time.Second

// Execute carries out what is ordered of a port, for who gave the order and waits for what
// comes of it, as long as ctx lasts. What fails, or is not done by then, is left to Run, but for
// a power cycle, whose error is Dropped. The error is Partly when a node has its power, though not
// from all of its outlets.
func (p *Ports) Execute(ctx context.Context, port Port) error {
	var asked order
	node, err := state.Read(ctx, p.Store, func(r state.Reader) (_ string, err error) {
		if asked, _, err = orders.Find(r, port.key()); err != nil {
			return "", err
		}
		return p.name(r, asked.Device)
	})
	if err == nil {
		turn := await.Begin(ctx, node, "not its turn yet")
		err = p.execute(ctx, port, asked)
		turn()
	}
	if err == nil && asked.Will == cycle {
		err = p.wasCut(ctx, port, asked)
	}
	if err != nil && ctx.Err() != nil && asked.Will != "" {
		why := err
		if fault.As(err) == nil {
			why = fault.Failedf("it took too long")
		}
		err = errors.Join(err, p.finish(ctx, target{}, port, asked, why))
	}
	if _, partly := errors.AsType[Partly](err); err != nil && asked.Will == cycle && !partly {
		err = Dropped{err}
	}
	return err
}

// Partly is the error of an order that a node has power, which it has, but not from all of its
// outlets. Run goes on with the others.
type Partly = driver.Partly

// StaysOn reports whether an error is that of an order that a node is off, for good or for a
// moment, of which not all outlets can be switched off.
func StaysOn(err error) bool { return driver.StaysOn(err) }

// Dropped is the error of a power cycle that failed. It is not done later, when it would be a
// surprise; that the port has power is.
type Dropped struct{ error }

func (d Dropped) Unwrap() error { return d.error }

// wasCut is a fault when a power cycle of what outlets feed gave way to another order before
// anything was cut.
func (p *Ports) wasCut(ctx context.Context, port Port, asked order) error {
	if last, cut := p.cut.Load(port); !port.fed() || cut && !last.(time.Time).Before(asked.Since) {
		return nil
	}
	woken, err := state.Read(ctx, p.Store, func(r state.Reader) (bool, error) { return p.Woken(r, port.Switch) })
	if err != nil || woken {
		return err
	}
	return fault.Failedf("its power was not cut, since something else was ordered of what feeds it meanwhile")
}

// execute is the one place that switches a port. It waits for its turn at the port and then at
// the switch, and reads the order only then, so that the last one to come follows the newest.
// That may be another one than who calls was asked to carry out: when it fails, it is left to
// whom that one was given, who waits for his turn.
func (p *Ports) execute(ctx context.Context, port Port, asked order) error {
	leave, err := p.holdAll(ctx, port)
	if err != nil {
		return err
	}
	defer leave()
	if p.isAbandoned(port, asked) {
		if err := p.abandon(ctx, port); err != nil {
			return err
		}
	}
	sw, did, err := p.carryOut(ctx, port)
	if err == nil {
		var is bool
		if is, err = p.isAstray(ctx, port, did); is && did.By == "" {
			return p.leaveOn(ctx, port, did)
		} else if is {
			err = fault.Failedf(astray)
		}
	}
	if did.Will == "" || err != nil && (ctx.Err() != nil || did.Attended && !did.same(asked)) {
		return err
	}
	failed := p.finish(ctx, sw, port, did, err)
	if f := fault.As(failed); f != nil && err == nil { // as of a full disk
		why, _, _ := strings.Cut(f.Msg, "; nothing was changed")
		failed = fault.Failedf("it was done, and could not be noted: %s", why).WithHint("%s", f.Hint)
	}
	return errors.Join(err, failed)
}

// carryOut is execute when the turn at the port has come. It returns which order it followed,
// the zero order when there is nothing to note of it.
func (p *Ports) carryOut(ctx context.Context, port Port) (sw target, did order, err error) {
	if port.fed() {
		woken, err := state.Read(ctx, p.Store, func(r state.Reader) (bool, error) { return p.Woken(r, port.Switch) })
		switch {
		case err != nil:
		case woken:
			did, err = p.carryOutWoken(ctx, port)
		default:
			did, err = p.carryOutFed(ctx, port)
		}
		return sw, did, err
	}
	sw, did, err = p.ordered(ctx, port)
	switch {
	case err != nil || did.Will == "":
		return sw, order{}, err
	case port.own():
		return sw, did, p.Devices.Switch(ctx, port.Switch, did.Will == turnOn)
	}
	err = p.sessions.use(ctx, sw.Switch.Switch, func(agent Agent) error {
		_, now, err := p.ordered(ctx, port)
		if did = now; err != nil || did.Will == "" {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, portLimit)
		defer cancel()
		end, err := p.told(ctx, port, did)
		if err != nil {
			return err
		}
		defer end()
		return did.perform(limited, agent, port.Number)
	})
	return sw, did, err
}

// told tells who waits, until end is called, that an order is carried out at a port of a switch.
func (p *Ports) told(ctx context.Context, port Port, o order) (end func(), err error) {
	var node, where string
	err = p.Store.View(ctx, func(r state.Reader) (err error) {
		if node, err = p.name(r, o.Device); err == nil {
			where, err = p.words(r, port)
		}
		return err
	})
	if o.Will == cycle {
		return await.Begin(ctx, node, "%s off for %v", where, snmp.CyclePause), err
	}
	return await.Begin(ctx, node, "switching %s %s", where, o.Will), err
}

// ordered reads the order of a port, and its switch. A port whose order was lost after
// it was cut would stay so.
func (p *Ports) ordered(ctx context.Context, port Port) (sw target, o order, err error) {
	sw, err = state.Lasting(ctx, p.Store, func(r state.Reader) (sw target, err error) {
		if o, err = orders.Get(r, port.key()); err == nil && port.ofSwitch() {
			sw, err = p.target(r, port.Switch)
		}
		if errors.Is(err, state.ErrNotFound) {
			o, err = order{}, nil
		}
		return sw, err
	})
	return sw, o, err
}

// perform has the agent do it. What is so already is not written again.
func (o order) perform(ctx context.Context, agent Agent, port int) error {
	asked := time.Now()
	on, err := agent.Power(ctx, port)
	switch {
	case err != nil:
		return silent(err, asked)
	case o.Will == cycle:
		return agent.Cycle(ctx, port, snmp.CyclePause)
	case on == (o.Will == turnOn):
		return nil
	}
	return agent.SetPower(ctx, port, o.Will == turnOn)
}

// finish writes what came of an order that was carried out, or not. Another one
// may have taken its place meanwhile.
func (p *Ports) finish(ctx context.Context, sw target, port Port, did order, failure error) error {
	p.troubles.note(port, did.Will, failure, p.Now())
	open := false
	_, err := p.Store.Update(context.WithoutCancel(ctx), func(tx state.Tx) error {
		o, found, err := orders.Find(tx, port.key())
		if open = found; err != nil || !found {
			return err
		}
		switch _, partly := errors.AsType[Partly](failure); {
		case partly:
			return p.writePartly(tx, sw, port, o, did, fault.Reason(failure))
		case failure != nil:
			return p.writeFailure(tx, sw, port, o, did, fault.Reason(failure))
		case did.Will == turnOff:
			return p.writeOff(tx, sw, port, o)
		default:
			return p.writeOn(tx, sw, port, o, did)
		}
	})
	if err != nil && did.Will == cycle {
		p.unnoted.Store(port, did.Since)
	}
	if err == nil && failure == nil && did.Will == turnOff && open {
		p.Devices.PoweredOff(did.Device)
	}
	if _, silent := errors.AsType[silence](failure); port.ofSwitch() && (silent || failure == nil) {
		p.contacts.note(port.Switch, failure)
	}
	return err
}

// writeFailure notes why a port is not what it should be, unless something else is ordered by
// now. A power cycle is not tried again, see Dropped.
func (p *Ports) writeFailure(tx state.Tx, sw target, port Port, o, did order, why string) error {
	if sw.forgotten {
		return errors.Join(p.drop(tx, port, o), p.dropSettings(tx, port.Switch), p.record(tx, sw, port, o, "", "gave up: "+why))
	}
	switch {
	case !o.same(did), o.Will != cycle && o.Error == why && !o.Attended:
		return nil
	case o.Will == cycle:
		o.Will, o.Since = turnOn, p.Now().UTC()
	}
	o.Error, o.Attended = why, false
	what := "turn it " + string(did.Will)
	if did.Will == cycle {
		what = "power cycle it"
	}
	return errors.Join(orders.Put(tx, port.key(), o), p.record(tx, sw, port, o, "", fmt.Sprintf("could not %s: %s", what, why)))
}

// writePartly notes that a node has power, but not from all of its outlets.
func (p *Ports) writePartly(tx state.Tx, sw target, port Port, o, did order, why string) error {
	if o.same(did) && o.Partly && o.Error == why {
		return nil // it was tried again
	}
	err := p.addSaved(tx, port, o)
	if o.Cut = (time.Time{}); o.same(did) {
		if o.Will == cycle {
			o.Will, o.Since = turnOn, p.Now().UTC()
		}
		o.Error, o.Attended, o.Partly = why, false, true
		err = errors.Join(err, p.record(tx, sw, port, o, "on", "has power, but not from all outlets: "+why))
	}
	return errors.Join(err, orders.Put(tx, port.key(), o))
}

// writeOff notes that a port is off.
func (p *Ports) writeOff(tx state.Tx, sw target, port Port, o order) error {
	if !o.Cut.IsZero() && o.Error == "" {
		return nil // it was looked at again
	}
	if o.Cut.IsZero() {
		o.Cut = p.Now().UTC()
	}
	o.Error, o.Asked = "", time.Time{}
	why := "switched off to save power"
	if o.By != "" {
		why = "switched off for " + o.By
	}
	return errors.Join(orders.Put(tx, port.key(), o), p.record(tx, sw, port, o, "off", why))
}

// writeOn notes that a port has power, which it may have to lose again.
func (p *Ports) writeOn(tx state.Tx, sw target, port Port, o, did order) error {
	if !o.same(did) {
		err := p.addSaved(tx, port, o)
		o.Cut = time.Time{}
		return errors.Join(err, orders.Put(tx, port.key(), o))
	}
	err := p.drop(tx, port, o)
	if err == nil && (did.Will != cycle || !o.Cut.IsZero()) { // while it is known what the port is
		err = p.record(tx, sw, port, o, "on", "has its power back")
	}
	return errors.Join(err, p.dropSettings(tx, port.Switch), p.dropSupply(tx, port.Switch))
}

// drop deletes an order within tx. For how long its port was off stays known.
func (p *Ports) drop(tx state.Tx, port Port, o order) error {
	return errors.Join(p.addSaved(tx, port, o), orders.Delete(tx, port.key()))
}

// addSaved adds up within tx for how long a port was off, which is not any more. Virtual nodes
// save nothing.
func (p *Ports) addSaved(tx state.Tx, port Port, o order) error {
	if o.Cut.IsZero() || port.own() {
		return nil
	}
	sum, _, err := saved.Find(tx, string(port.Switch))
	if err != nil {
		return err
	}
	return saved.Put(tx, string(port.Switch), sum+o.off(p.Now()))
}

// record writes into the journal what became of a port.
func (p *Ports) record(tx state.Tx, sw target, port Port, o order, to, detail string) error {
	node, err := p.name(tx, o.Device)
	if err != nil {
		return err
	}
	if !port.own() {
		where, err := p.words(tx, port)
		if err != nil {
			return err
		}
		detail = where + ": " + detail
	}
	return p.Journal.Record(tx, journal.Event{Type: journal.Power, Actor: journal.Server, Node: node, To: to, Detail: detail})
}

// name is what people call a device; of one that was forgotten, its address.
func (p *Ports) name(r state.Reader, mac ethernet.MAC) (string, error) {
	d, ok, err := p.Devices.Behind(r, mac)
	if !ok {
		return string(mac), err
	}
	return d.Name, err
}
