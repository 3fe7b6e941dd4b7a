package nodes

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/state"
)

// wokenAtOnce is how many nodes are woken in one transaction: they are far from too many.
const wokenAtOnce = 1000

// Woken is a node that Wake gave its power, or had that done.
type Woken struct {
	*Device
	Saved bool   // it was off to save power
	Dark  string // why its power could not be given before, in words for users; "": it could, or nobody tried
}

// Wake gives those of the nodes that are off to save power their power back, and those that
// are to be on anyway theirs, and notes that all of them are used now. It returns these, also
// when it fails or ctx ends before the others had their turn.
func (l *Lab) Wake(ctx context.Context, nodes []*Device) (woke []Woken, err error) {
	saving, err := l.savesPower(ctx, nodes)
	if err != nil {
		return nil, err
	}
	ports := map[Name]power.Port{}
	for some := range slices.Chunk(saving, wokenAtOnce) {
		var part []Woken
		var woken map[Name]power.Port
		_, err = l.Store.Update(ctx, func(tx state.Tx) (err error) {
			part = nil
			var ds []Device
			for _, n := range some {
				d, err := get(tx, n.Name)
				if err != nil {
					return err
				}
				w := Woken{Device: &d}
				if _, w.Saved, err = l.Ports.Off(tx, d.MAC); err != nil {
					return err
				}
				if w.Dark, err = l.Ports.Dark(tx, d.MAC); err != nil {
					return err
				}
				ds, part = append(ds, d), append(part, w)
			}
			woken, _, err = l.need(tx, ds, l.Ports.Wake)
			return err
		})
		if err != nil {
			break
		}
		for _, w := range part {
			if port := woken[w.Name]; !port.IsZero() {
				woke, ports[w.Name] = append(woke, w), port
			}
		}
	}
	var dark []Reason
	again := false
	late := atOnce(ctx, &l.works, woke, slow, func(ctx context.Context, w Woken) Reboot {
		return l.restart(ctx, *w.Device, ports[w.Name], false, cause{})
	}, func(w Woken, r Reboot) {
		if r.Outcome != RebootOK {
			dark, again = withReason(dark, w.Name, r.String()), again || r.Again
		}
	})
	return woke, cmp.Or(err, late, notWoken(dark, again))
}

// notWoken is the fault for nodes that could not be woken, nil without any; again says that the
// server goes on trying.
func notWoken(dark []Reason, again bool) error {
	if len(dark) == 0 {
		return nil
	}
	var what []string
	for _, r := range dark {
		what = append(what, fault.Few(r.Nodes)+": "+r.Why)
	}
	f := fault.Failedf("could not wake %s", strings.Join(what, "; "))
	if again {
		return f.WithHint("the server goes on trying; see how with: power show")
	}
	return f.WithHint("see what it is doing with: node show %s", dark[0].Nodes[0])
}

// savesPower returns those of the nodes whose power may be saved, or of which something is
// ordered: of the others nobody asks when they are used.
func (l *Lab) savesPower(ctx context.Context, nodes []*Device) (some []*Device, err error) {
	err = l.Ports.Wiring(ctx, func(w power.Wiring) {
		for _, d := range nodes {
			if d.Host == QEMU || !w.Port(d.MAC).IsZero() || w.Supply(d.MAC) != nil || w.Ordered(d.MAC) {
				some = append(some, d)
			}
		}
	})
	return some, err
}

// need notes within tx that nodes are used now, and orders the power of those
// that may be off. It returns the ports of these, and how many of the nodes fit tx.
func (l *Lab) need(tx state.Tx, ds []Device, order func(state.Tx, ethernet.MAC) (power.Port, error)) (woken map[Name]power.Port, fit fitting, err error) {
	woken = map[Name]power.Port{}
	for _, d := range ds {
		if err := l.Ports.NoteUse(tx, d.MAC); err != nil {
			return nil, fit, err
		}
		port, err := order(tx, d.MAC)
		if err != nil {
			return nil, fit, err
		}
		if !port.IsZero() {
			woken[d.Name] = port
		}
		fit.add(tx, &journal.Bundle{})
	}
	return woken, fit, nil
}
