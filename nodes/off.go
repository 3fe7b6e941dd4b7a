package nodes

import (
	"context"
	"errors"
	"sync"
	"time"

	"walt/auth"
	"walt/await"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/pause"
	"walt/power"
	"walt/state"
)

const (
	// shutdownLimit is how long a node may take to shut down before its power is cut.
	shutdownLimit = 30 * time.Second
	// downEvery is how often it is asked whether it still answers.
	downEvery = 500 * time.Millisecond
)

// offWords tells why a node is off, in words for users.
func offWords(o power.Off) string {
	return o.By + " switched it off at " + o.Since.UTC().Format("2006-01-02 15:04 UTC")
}

// offStatus is that of a node that is off for an order.
func offStatus(o power.Off) Status {
	if o.By == "" {
		return Status{State: Powersave, Heard: o.Since}
	}
	return Status{State: Off, Heard: o.Since, Why: offWords(o), Off: o}
}

// causeOf is that a node goes down for an order.
func causeOf(o power.Off) cause {
	if o.By == "" {
		return cause{journal.Server, "power saving: nobody needs it"}
	}
	return cause{journal.Actor(o.By), "switched off"}
}

// isOff is the fault for a node that is off until a user wants it on.
func isOff(n Name, why string) error {
	return fault.Failedf("%s is off: %s", n, why).WithHint("switch it on with: node on %s", n)
}

// isOffByHand reports whether a virtual node went off though nobody ordered that: nobody
// starts it unasked.
func (s Status) isOffByHand(d *Device) bool {
	return d.Virtual() && s.State == Off && s.Why != "" && !s.queued
}

// PowerOff switches the nodes of the set off, contested ones with consent. They stay
// off until somebody wants them on: by PowerOn, a reboot, or an image that they are to
// boot, their present one too. Unless hard, a node that is up is asked to shut down, and
// its power is cut when it has, or takes too long. each is called as that of Reboot;
// RebootSkipped is for what a user had switched off before.
func (l *Lab) PowerOff(ctx context.Context, user auth.Name, set Set, hard bool, given consent.Agreement, each func(Change)) error {
	ports := map[Name]power.Port{}
	done := map[Name]Reboot{}
	off := func(tx state.Tx, d Device) error {
		was, isOff, err := l.Ports.Off(tx, d.MAC)
		if err != nil {
			return err
		}
		if isOff && was.By != "" {
			if done[d.Name] = (Reboot{Outcome: RebootSkipped}); d.Virtual() {
				return nil
			}
			ports[d.Name], err = l.Ports.PowerOff(tx, d.MAC, false, was.By) // somebody may have switched it on by hand
			return err
		}
		if hard {
			if err := l.Ports.MayCut(tx, d.MAC); err != nil {
				return err
			}
		}
		port, err := l.Ports.PowerOff(tx, d.MAC, d.Virtual(), string(user))
		if port.IsZero() {
			done[d.Name] = Reboot{Outcome: RebootNone}
			return err
		}
		ports[d.Name] = port
		return err
	}
	var strips map[Name]*strip
	together := func(tx state.Tx, ds []Device, _ *journal.Bundle) (_ []consent.Claim, err error) {
		if err := l.Ports.MayBeOff(tx, addressesOf(ds)); err != nil {
			return nil, err
		}
		strips, err = l.strips(tx, ds)
		return nil, err
	}
	ds, err := l.switchAll(ctx, user, set, "off", given, together, off, ports, done)
	if err != nil {
		return err
	}
	why := cause{user.Actor(), "switched off"}
	limited := context.WithoutCancel(ctx)
	runOnce(strips, ds, func(s *strip) Reboot { // none is cut before all have shut down
		limited, cancel := context.WithTimeout(limited, workLimit)
		defer cancel()
		var all sync.WaitGroup
		for _, d := range s.nodes {
			if _, is := done[d.Name]; !is {
				all.Go(func() { l.quiesce(limited, d, hard) }) // ends within its limit
			}
		}
		all.Wait()
		return Reboot{}
	})
	quick := func(d Device) bool { return isIn(done)(d) && ports[d.Name].IsZero() }
	return interrupted(ctx, atOnce(ctx, &l.works, ds, quick, func(ctx context.Context, d Device) Reboot {
		if r, is := done[d.Name]; is {
			if port := ports[d.Name]; !port.IsZero() {
				if failed := l.switchOff(ctx, d, port); failed.Outcome != RebootOK {
					return failed
				}
			}
			return r
		}
		defer l.status.expect(d.Name, why)()
		if s := strips[d.Name]; s != nil {
			s.run()
		} else {
			l.quiesce(ctx, d, hard)
		}
		return l.switchOff(ctx, d, ports[d.Name])
	}, func(d Device, r Reboot) {
		each(Change{Node: d.Name, Image: d.Image, Previous: d.Owner(), Reboot: r})
	}))
}

// PowerOn switches the nodes of the set on, contested ones with consent. each is called
// as that of Reboot; RebootSkipped is for what is on.
func (l *Lab) PowerOn(ctx context.Context, user auth.Name, set Set, given consent.Agreement, each func(Change)) error {
	ports := map[Name]power.Port{}
	done := map[Name]Reboot{}
	unsure := map[Name]bool{} // up, as far as is known, but their agents are gone
	on := func(tx state.Tx, d Device) (err error) {
		delete(unsure, d.Name)
		if err := l.Ports.NoteUse(tx, d.MAC); err != nil {
			return err
		}
		status := l.status.of(d.Name)
		s := status.State
		switchOn := l.Ports.PowerOn
		if s != Up && s != Booting {
			switchOn = l.Ports.SwitchOn
		}
		port, err := switchOn(tx, d.MAC)
		if err != nil || !port.IsZero() {
			ports[d.Name] = port
			return err
		}
		woken, err := l.Ports.Woken(tx, d.MAC)
		if err != nil {
			return err
		}
		switch can, err := l.canRestart(tx, d); {
		case err != nil:
			return err
		case s == Up && woken && !status.alone.IsZero():
			unsure[d.Name] = true
		case s == Up, s == Booting, can && !d.Virtual(): // its port has power
			done[d.Name] = Reboot{Outcome: RebootSkipped}
		case !can:
			done[d.Name] = Reboot{Outcome: RebootNone}
		}
		return nil
	}
	var lit []beside
	back := func(tx state.Tx, ds []Device, told *journal.Bundle) (claims []consent.Claim, err error) {
		lit, claims, err = l.lit(tx, user, ds)
		tellLit(told, user, lit)
		return claims, err
	}
	ds, err := l.switchAll(ctx, user, set, "on", given, back, on, ports, done)
	if err != nil {
		return err
	}
	return interrupted(ctx, atOnce(ctx, &l.works, ds, isIn(done), func(ctx context.Context, d Device) Reboot {
		if r, is := done[d.Name]; is {
			return r
		}
		port := ports[d.Name]
		if unsure[d.Name] {
			if !l.fellSilent(ctx, d) {
				return Reboot{Outcome: RebootSkipped}
			}
			_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
				port, err = l.Ports.SwitchOn(tx, d.MAC)
				return err
			})
			if err != nil {
				return Reboot{Outcome: RebootFailed, Reason: l.why(d.Name, err)}
			}
		}
		return l.restart(ctx, d, port, false, cause{user.Actor(), "switched on"})
	}, func(d Device, r Reboot) {
		each(Change{Node: d.Name, Image: d.Image, Previous: d.Owner(), Reboot: r})
		l.tellBesides(nil, lit, d, r, each)
	}))
}

// isIn reports whether it is known already what came of a device.
func isIn(done map[Name]Reboot) func(Device) bool {
	return func(d Device) bool {
		_, is := done[d.Name]
		return is
	}
}

// switchAll orders the power of the nodes of a set in one transaction: order is called for
// each, and notes in ports what is ordered, or in done what came of one that needs nothing
// more. before is called with all of them first, and returns whom else to ask.
func (l *Lab) switchAll(ctx context.Context, user auth.Name, set Set, way string, given consent.Agreement, before func(state.Tx, []Device, *journal.Bundle) ([]consent.Claim, error), order func(state.Tx, Device) error, ports map[Name]power.Port, done map[Name]Reboot) (ds []Device, err error) {
	var fit fitting
	_, err = l.Store.Update(ctx, func(tx state.Tx) (err error) {
		clear(ports)
		clear(done)
		fit = 0
		if ds, err = set.expand(l.stored(ctx, tx), user, nodeScope); err != nil {
			return err
		}
		var told journal.Bundle
		beside, err := before(tx, ds, &told)
		if err != nil {
			return err
		}
		if err = given.Check(append(claims(ds, user), beside...)); err != nil {
			return err
		}
		for _, d := range ds {
			if err := order(tx, d); err != nil {
				return err
			}
			if _, is := done[d.Name]; is {
				fit.add(tx, &told)
				continue
			}
			told.Record(journal.Event{Type: journal.Power, Actor: user.Actor(), Node: string(d.Name), To: way, Detail: "switched " + way})
			tell(&told, user, d, journal.Notice{One: string(user) + " switched your node %s " + way, Several: string(user) + " switched %s " + way})
			fit.add(tx, &told)
		}
		return l.Journal.Write(tx, told)
	})
	return ds, l.tooMany(err, fit, "")
}

// quiesce has a node shut down that is to be off, unless it is to lose its power at once.
func (l *Lab) quiesce(ctx context.Context, d Device, hard bool) {
	woken, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.Woken(r, d.MAC) })
	// What packets wake is asked when its order is carried out.
	if s := l.status.of(d.Name); err == nil && !hard && !woken && !d.Settings().Hard && s.State == Up && d.Host != Simulated {
		_ = l.shutDown(ctx, d, s.Addr) // what fails is of no interest: its power is cut next
	}
}

// switchOff carries out the order that a node is off.
func (l *Lab) switchOff(ctx context.Context, d Device, ordered power.Port) Reboot {
	if err := l.Ports.Execute(ctx, ordered); err != nil {
		return l.unswitched(d, err, true)
	}
	off, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.IsOff(r, d.MAC) })
	if err == nil && !off && d.Virtual() && l.status.of(d.Name).State == Off { // somebody wanted it on while it shut down
		l.start(d, 0, cause{})
	}
	return Reboot{Outcome: RebootOK}
}

// shutDown asks a node to shut down, and waits until it has. The error says why it did not
// in time.
func (l *Lab) shutDown(ctx context.Context, d Device, addr string) error {
	limited, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	defer await.Begin(ctx, string(d.Name), "shutting down")()
	asking, accepted := context.WithTimeout(limited, softLimit)
	err := l.ask(asking, d, addr, "poweroff")
	accepted()
	if err != nil {
		return err
	}
	for pause.For(limited, downEvery) == nil {
		is, err := l.Presence(limited, d.MAC)
		if err == nil && is != power.Awake { // what is left to do there takes no services
			return pause.For(limited, 4*downEvery)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.Failedf("it still answers %v after it was asked", shutdownLimit)
}

// Switch gives a virtual node its power, or takes it, as is ordered.
func (l *Lab) Switch(ctx context.Context, mac ethernet.MAC, on bool) error {
	var d Device
	var why power.Off
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if d, err = withMAC(r, mac); err == nil {
			why, _, err = l.Ports.Off(r, mac)
		}
		return err
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err != nil || d.Kind != Node {
		return err
	}
	if on {
		if s := l.status.of(d.Name); s.State != Up && s.State != Booting {
			l.start(d, 0, s.cause) // of a refusal the status of the node tells
		}
		return nil
	}
	host, here := l.Hosts[d.Host]
	if !here {
		return fault.Failedf("this server does not run %s nodes", d.Host)
	}
	defer l.status.expect(d.Name, causeOf(why))()
	if end := l.visitors.Present(string(d.Name)); end != nil {
		end(fault.Failedf("%s was switched off", d.Name))
	}
	l.status.change(d.Name, func(s *Status) { s.due = false }) // it does not start
	host.Stop(d.Name)
	return nil
}
