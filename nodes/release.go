package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

// Release frees nodes of the set: they boot their default images. A user frees
// only nodes of their own, the server anybody's; one of them that is not fails
// the whole set. A set that is the user's own by its words (my-nodes, job:x) may be empty. See free for very many.
func (l *Lab) Release(ctx context.Context, actor journal.Actor, set Set) (Result, error) {
	return l.free(ctx, actor, set, consent.Agreement{}, func(c *change) ([]Device, error) {
		find := set.find
		if set.OfOneself() {
			find = set.search
		}
		found, err := find(l.stored(ctx, c.tx), auth.UserOf(actor), nodeScope)
		if err != nil {
			return nil, err
		}
		ds := values(found)
		not, others := notOf(ds, auth.UserOf(actor))
		if actor == journal.Server {
			not = names(ds, Device.Free)
		}
		if len(not) > 0 {
			f := fault.Failedf("not yours: %s; nothing changed", fault.Few(not))
			if !others {
				return nil, f.WithHint("what is free has nothing to give back; see your nodes with: node show")
			}
			them := "them"
			if len(ds) == 1 {
				them = "it"
			}
			return nil, f.WithHint("free %s all the same with: node boot %s default (see: help show node-ownership)", them, set)
		}
		return ds, nil
	})
}

// free makes the devices that which returns boot their default images. Of more than one
// transaction takes, the first part is in that of which, and the others follow in
// transactions of their own, without what changed hands since: nobody relies on all of
// them becoming free at once, and who is interrupted goes on. All are restarted in the end.
func (l *Lab) free(ctx context.Context, actor journal.Actor, set Set, given consent.Agreement, which func(*change) ([]Device, error)) (Result, error) {
	var left []Device
	all, err := l.commit(ctx, actor, given, func(c *change) error {
		ds, err := which(c)
		if err == nil {
			left, err = c.freeSome(ds)
		}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	for some := len(all.result.Changes); len(left) > 0; {
		var over []Device
		next, others := left[:min(some, len(left))], left[min(some, len(left)):]
		part, failed := l.commit(ctx, actor, given, func(c *change) error {
			ds, err := c.asBefore(next)
			if err == nil {
				over, err = c.freeSome(ds)
			}
			return err
		})
		if failed != nil {
			_ = all.restart(ctx) // what it says of ctx is said already
			return Result{}, l.halfFree(failed, set, len(all.result.Changes), len(left))
		}
		all.append(part)
		left = slices.Concat(over, others)
	}
	err = all.restart(ctx)
	return all.result, err
}

// freeSome makes devices boot their default images, from the first on, until the
// transaction has no room for more; these are left.
func (c *change) freeSome(ds []Device) (left []Device, err error) {
	for i, d := range ds {
		if i > 0 && !c.roomy() {
			return ds[i:], nil
		}
		if err := c.assign(d, images.DefaultRef(d.Model)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// roomy reports whether the transaction has room for the change of one more device.
func (c *change) roomy() bool {
	const rows, bytes = 20, 50_000 // more than any takes
	room := c.tx.Room()
	room.Rows -= rows
	room.Bytes -= bytes
	return c.told.Fits(room)
}

// asBefore returns those of the devices that are there as they were, but for what they boot.
func (c *change) asBefore(ds []Device) (same []Device, err error) {
	for _, was := range ds {
		d, known, err := devices.Find(c.tx, string(was.Name))
		if err != nil {
			return nil, err
		}
		if known && d.MAC == was.MAC && d.Owner() == was.Owner() && d.Since.Equal(was.Since) {
			same = append(same, d)
		}
	}
	return same, nil
}

// append adds what another transaction of the same command did.
func (c *change) append(next *change) {
	for _, m := range next.moved {
		if m.of >= 0 {
			m.of += len(c.result.Changes)
		}
		c.moved = append(c.moved, m)
	}
	c.result.Changes = append(c.result.Changes, next.result.Changes...)
}

// halfFree tells what became of a set of which some devices are free and the others not,
// and how to go on.
func (l *Lab) halfFree(err error, set Set, free, left int) error {
	again := fmt.Sprintf("go on with: node boot %s default", set) // which leaves alone what is free
	if set.String() == myNodes {
		again = "go on with: node release my-nodes"
	}
	kind, why := fault.Failed, ""
	if errors.Is(err, context.Canceled) {
		kind, why = fault.Interrupted, "interrupted"
	} else {
		why = l.why(Name(set.String()), err)
	}
	return fault.New(kind, "%s: %d nodes are free, and go on rebooting; %d are not yet", why, free, left).WithHint("%s", again)
}

// free makes each device boot its default image, all in this transaction.
func (c *change) free(ds []Device) error {
	for _, d := range ds {
		if err := c.assign(d, images.DefaultRef(d.Model)); err != nil {
			return err
		}
	}
	return nil
}
