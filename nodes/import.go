package nodes

import (
	"context"
	"errors"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

// errDry ends a transaction that was only to be tried.
var errDry = errors.New("nodes: nothing is to change")

// Imported is what came of a device that was to be imported.
type Imported struct {
	Known bool  // it was there already, as it is told
	Wrong error // a fault that keeps it from being added; nil when there is none
}

// Import adds devices as Register does each, all of them or, when one cannot be added,
// none. It returns what came of each. With dry it only tries.
func (l *Lab) Import(ctx context.Context, actor journal.Actor, all []Announcement, dry bool) (done []Imported, err error) {
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		done = make([]Imported, len(all))
		wrong := false
		for i, a := range all {
			known, err := l.importOne(tx, actor, a)
			if fault.As(err) == nil && err != nil {
				return err
			}
			done[i], wrong = Imported{known, err}, wrong || err != nil
		}
		if wrong || dry {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return done, err
}

// importOne adds a device, unless it is known as it is told.
func (l *Lab) importOne(tx state.Tx, actor journal.Actor, a Announcement) (known bool, err error) {
	d, here, err := devices.Find(tx, string(a.Name))
	if err != nil {
		return false, err
	}
	if here && a.tells(d) {
		return true, welcome(tx, &d, a)
	}
	_, err = l.add(tx, actor, a)
	return false, err
}
