package nodes

import (
	"context"
	"errors"
	"time"

	"walt/auth"
	"walt/state"
)

// elsewhere notes within tx, for a node that boots, that it cannot hang on its
// port when that is off. What a user told stays, but its power is given back.
func (l *Lab) elsewhere(tx state.Tx, d *Device) error {
	off, err := cutOff(tx, *d)
	if err != nil || !off {
		return err
	}
	if d.Port.ByHand {
		return errors.Join(l.giveBack(tx, d.Port), l.touch(tx, *d))
	}
	_, err = l.link(tx, auth.Server, d, Port{})
	return err
}

func (l *Lab) kickScan() {
	select {
	case l.scan <- struct{}{}:
	default:
	}
}

// settleTime is how long after the start of a node the switches are asked where
// it is: others may start with it.
const settleTime = 5 * time.Second

// scanner finds nodes that moved, some time after they start, until ctx ends.
func (l *Lab) scanner(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.scan:
		}
		if pause(ctx, settleTime) != nil {
			return nil
		}
		var asked []managed
		err := l.Store.View(ctx, func(r state.Reader) error {
			asked = nil
			found, err := explorable(r)
			if err != nil {
				return err
			}
			for mac := range found {
				sw, err := getSwitch(r, mac)
				if err != nil {
					return err
				}
				asked = append(asked, sw)
			}
			return nil
		})
		if err == nil && len(asked) > 0 {
			_, _, err = l.explore(ctx, auth.Server, asked)
		}
		if err != nil && ctx.Err() == nil {
			l.Log.Error("look where nodes are", "err", err)
		}
	}
}
