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

// Import adds devices as Register does each, all of them or, when one cannot be added,
// none: then it returns why, for each as far as there is a reason. With dry it only tries.
// Those that are known as they are told are left as they are.
func (l *Lab) Import(ctx context.Context, actor journal.Actor, all []Announcement, dry bool) (why []error, err error) {
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		why = make([]error, len(all))
		wrong := false
		for i, a := range all {
			err := l.importOne(tx, actor, a)
			if fault.As(err) == nil && err != nil {
				return err
			}
			why[i], wrong = err, wrong || err != nil
		}
		if wrong || dry {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return why, err
}

// importOne adds a device that is not known yet.
func (l *Lab) importOne(tx state.Tx, actor journal.Actor, a Announcement) error {
	d, here, err := devices.Find(tx, string(a.Name))
	if err != nil || here && a.tells(d) {
		return err
	}
	_, err = l.add(tx, actor, a)
	return err
}
