package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/state"
)

// strip is nodes that are switched together, since they hang on the same outlets.
type strip struct {
	power.Strip
	port   power.Port    // that has the order
	nodes  []Device      // of the request
	beside []beside      // what else loses its power, or gets it back
	run    func() Reboot // what came of it: who asks first carries it out
}

// beside is a device whose power is switched with that of nodes, since they share outlets.
type beside struct {
	Device
	power.Sharer
	with Name // the first of these
}

// becomes says what a request that switches others does to the power of a device.
func (b beside) becomes() string {
	if len(b.Keeps) > 0 {
		return fmt.Sprintf("loses the power of %s and keeps that of %s", b.Outlets, b.Keeps)
	}
	return fmt.Sprintf("loses its power, too (%s)", b.Outlets)
}

// isCut reports whether it is a node that is without power for a moment.
func (b beside) isCut() bool { return b.Kind == Node && len(b.Keeps) == 0 }

// besides returns the devices that share outlets with some of those that are switched.
func besides(r state.Reader, sharers []power.Sharer, ds []Device) (all []beside, err error) {
	for _, s := range sharers {
		found, err := withMACs(r, []ethernet.MAC{s.Node})
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			i := slices.IndexFunc(ds, func(d Device) bool { return d.MAC == s.With })
			all = append(all, beside{d, s, ds[i].Name})
		}
	}
	slices.SortFunc(all, func(a, b beside) int { return naturally(&a.Device, &b.Device) })
	return all, nil
}

// claim is the device as it is asked whether that may be done to it, for the sake of these.
func (b beside) claim(becomes string, of ...Name) consent.Claim {
	c := b.Device.claim()
	c.Of, c.Becomes = fault.Joined(of, ", "), becomes
	return c
}

// strips returns those of the devices that share outlets, by their names.
func (l *Lab) strips(r state.Reader, ds []Device) (map[Name]*strip, error) {
	all, err := l.Ports.Strips(r, addressesOf(ds))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	named := map[ethernet.MAC]Device{}
	for _, d := range ds {
		named[d.MAC] = d
	}
	found := map[Name]*strip{}
	for _, one := range all {
		s := &strip{Strip: one}
		for _, mac := range one.Nodes {
			s.nodes = append(s.nodes, named[mac])
			found[named[mac].Name] = s
		}
		if s.beside, err = besides(r, one.Others, ds); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// names are those of the nodes of the request.
func (s *strip) names() (all []Name) {
	for _, d := range s.nodes {
		all = append(all, d.Name)
	}
	return all
}

func addressesOf(ds []Device) []ethernet.MAC {
	all := make([]ethernet.MAC, len(ds))
	for i, d := range ds {
		all[i] = d.MAC
	}
	return all
}

// inStrips lists the strips once each, in the order of the devices.
func inStrips(strips map[Name]*strip, ds []Device) (all []*strip) {
	for _, d := range ds {
		if s := strips[d.Name]; s != nil && s.nodes[0].Name == d.Name {
			all = append(all, s)
		}
	}
	return all
}

// lit returns who gets power with those of the devices that are off, and what of that is to
// be asked about: the nodes of others.
func (l *Lab) lit(r state.Reader, user auth.Name, ds []Device) (all []beside, claims []consent.Claim, err error) {
	sharers, err := l.Ports.Lit(r, addressesOf(ds))
	if err != nil || len(sharers) == 0 {
		return nil, nil, err
	}
	if all, err = besides(r, sharers, ds); err != nil {
		return nil, nil, err
	}
	for _, b := range all {
		if b.contested(user) {
			claims = append(claims, b.claim(fmt.Sprintf("gets its power back, too (%s)", b.Outlets), b.with))
		}
	}
	return all, claims, nil
}

// tellLit tells of nodes that are switched on with others.
func tellLit(told *journal.Bundle, user auth.Name, all []beside) {
	for _, b := range all {
		with := string(b.with)
		told.Record(journal.Event{Type: journal.Power, Actor: user.Actor(), Node: string(b.Name), To: "on", Detail: "switched on with " + with})
		tell(told, user, b.Device, journal.Notice{One: string(user) + " switched your node %s on, with " + with, Several: string(user) + " switched %s on, with " + with})
	}
}

// toCut returns the strips of those of the devices whose power is cut when they are rebooted,
// and who is to be asked about what else hangs there: all are, also nobody and the user.
func (l *Lab) toCut(r state.Reader, ds []Device, hard bool) (strips map[Name]*strip, claims []consent.Claim, err error) {
	cut := make([]Device, 0, len(ds))
	for _, d := range ds {
		if !d.Virtual() && (hard || d.Settings().Hard || l.status.of(d.Name).State != Up) {
			cut = append(cut, d)
		}
	}
	if strips, err = l.strips(r, cut); err != nil {
		return nil, nil, err
	}
	for _, s := range inStrips(strips, cut) {
		off, err := l.Ports.IsOff(r, s.nodes[0].MAC)
		if err != nil {
			return nil, nil, err
		}
		if off { // and so is what else hangs there: it is switched on
			for _, d := range s.nodes {
				delete(strips, d.Name)
			}
			continue
		}
		for _, b := range s.beside {
			claims = append(claims, b.claim(b.becomes(), s.names()...))
		}
	}
	return strips, claims, nil
}

// orderCut orders within tx that the strips lose their power for a moment.
func (l *Lab) orderCut(tx state.Tx, strips map[Name]*strip, ds []Device) (err error) {
	for _, s := range inStrips(strips, ds) {
		if s.port, err = l.Ports.PowerCycleTogether(tx, s.Strip, true); err != nil {
			return err
		}
	}
	return nil
}

// cutStrip carries that out: whatever was up there starts anew.
func (l *Lab) cutStrip(ctx context.Context, user auth.Name, s *strip) Reboot {
	why := map[Name]cause{}
	all := slices.Clone(s.nodes)
	for _, d := range s.nodes {
		why[d.Name] = cause{user.Actor(), "rebooted"}
	}
	for _, b := range s.beside {
		if b.isCut() && l.status.of(b.Name).State != Off {
			all = append(all, b.Device)
			why[b.Name] = cause{user.Actor(), "lost its power with " + string(b.with)}
		}
	}
	for _, d := range all { // for when its power goes
		l.status.change(d.Name, func(st *Status) { st.cause = why[d.Name] })
	}
	if err := l.Ports.Execute(ctx, s.port); err != nil {
		for _, d := range all {
			l.status.change(d.Name, func(st *Status) {
				if st.State == Up {
					st.cause = cause{}
				}
			})
		}
		return Reboot{Outcome: RebootFailed, Reason: l.why(s.nodes[0].Name, err), Again: goesOnTrying(err)}
	}
	for _, d := range all {
		l.starting(d, 0, why[d.Name])
		l.cut(d.Name, why[d.Name].why)
	}
	l.noteCut(context.WithoutCancel(ctx), user, s)
	return Reboot{Outcome: RebootOK}
}

// noteCut tells the log, and the owners, whose power was cut with that of others.
func (l *Lab) noteCut(ctx context.Context, user auth.Name, s *strip) {
	var told journal.Bundle
	for _, b := range s.beside {
		what, with := "lost its power", string(b.with)
		if len(b.Keeps) > 0 {
			what = fmt.Sprintf("lost the power of %s", b.Outlets)
		}
		told.Record(journal.Event{Type: journal.Power, Actor: user.Actor(), Node: string(b.Name), Detail: what + " for a moment with " + with})
		tell(&told, user, b.Device, journal.Notice{
			One:     fmt.Sprintf("%s rebooted %s, and your node %%s %s with it", user, with, what),
			Several: fmt.Sprintf("%s rebooted %s, and %%s %s with it", user, with, what),
		})
	}
	if len(s.beside) == 0 {
		return
	}
	if _, err := l.Store.Update(ctx, func(tx state.Tx) error { return l.Journal.Write(tx, told) }); err != nil {
		l.Log.Error("note what lost its power", "node", s.nodes[0].Name, "err", err)
	}
}

// tellBesides calls each with what was switched with a device, when that was, and has what got
// its power back begin to boot.
func (l *Lab) tellBesides(strips map[Name]*strip, lit []beside, d Device, r Reboot, each func(Change)) {
	if r.Outcome != RebootOK {
		return
	}
	for _, b := range lit {
		if b.with == d.Name {
			l.starting(b.Device, 0, cause{})
			each(b.change())
		}
	}
	s := strips[d.Name]
	if s == nil || s.nodes[0].Name != d.Name {
		return
	}
	for _, b := range s.beside {
		if b.isCut() {
			each(b.change())
		}
	}
}

// change is what came of it, the power of the others having been switched.
func (b beside) change() Change {
	return Change{Node: b.Name, Image: b.Image, Previous: b.Owner(), With: b.with, Reboot: Reboot{Outcome: RebootOK}}
}

// runOnce has each strip carried out once, by who asks first.
func runOnce(strips map[Name]*strip, ds []Device, run func(*strip) Reboot) {
	for _, s := range inStrips(strips, ds) {
		s.run = sync.OnceValue(func() Reboot { return run(s) })
	}
}

// macs are the addresses of what is beside.
func (s *strip) macs() (all []ethernet.MAC) {
	for _, b := range s.beside {
		all = append(all, b.MAC)
	}
	return all
}

// FedWith returns for each of the devices the others that its outlets feed, and the outlets
// that they share, in natural order.
func (l *Lab) FedWith(ctx context.Context, names []Name) (all []Fed, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		all = nil
		for _, n := range names {
			d, found, err := devices.Find(r, string(n))
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			strips, err := l.strips(r, []Device{d})
			if err != nil {
				return err
			}
			if s := strips[n]; s != nil {
				f := Fed{Node: n}
				var shared []string
				for _, b := range s.beside {
					f.Others = append(f.Others, b.Name)
					for _, o := range b.Outlets {
						if !slices.Contains(shared, o.String()) {
							shared = append(shared, o.String())
						}
					}
				}
				f.Shared = strings.Join(shared, "+")
				all = append(all, f)
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Fed) int { return a.Node.Compare(b.Node) })
	return all, err
}

// Fed is a node that shares outlets with others.
type Fed struct {
	Node   Name
	Shared string // the outlets, as in "rack1:7+rack1:8"
	Others []Name
}
