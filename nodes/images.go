package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/remote"
	"walt/state"
)

// Change runs f in one transaction, and then restarts the nodes that f said. With
// it, and with Models, the lab is what package images asks for: its Nodes.
func (l *Lab) Change(ctx context.Context, actor journal.Actor, f func(images.Change) error) ([]images.Restart, error) {
	result, err := l.change(ctx, actor, consent.Agreement{}, func(c *change) error {
		c.advice = "release some of the nodes that boot the image first"
		return f(imageChange{c.tx, c})
	})
	var all []images.Restart
	for _, ch := range result.Changes {
		all = append(all, images.Restart{Node: string(ch.Node), Image: ch.Image, Outcome: string(ch.Reboot.Outcome), Reason: ch.Reboot.Reason})
	}
	return all, err
}

// imageChange is a change as package images sees it.
type imageChange struct {
	state.Tx
	change *change
}

func (i imageChange) Booting(ref images.Ref) (using []images.Node, err error) {
	ds, err := booting(i, ref)
	for _, d := range ds {
		n := images.Node{Claim: d.claim(), Model: d.Model, Failed: i.change.lab.status.of(d.Name).Failed}
		if !d.rests() { // else nobody on it is disturbed
			n.Visitors = i.change.lab.visitors.Users(string(d.Name))
		}
		using = append(using, n)
	}
	return using, err
}

func (i imageChange) Restart(n images.Node) error {
	d, err := devices.Get(i, n.Node)
	if err != nil || d.rests() {
		return err
	}
	ch := Change{Node: d.Name, Image: d.Image, Previous: d.Owner(), Reboot: Reboot{Outcome: RebootSkipped}}
	i.change.result.Changes = append(i.change.result.Changes, ch)
	return i.change.move(d, false, "its image was replaced")
}

func (i imageChange) Waiting(model images.Model) (bool, error) {
	ds, err := waitingFor(i, model)
	return len(ds) > 0, err
}

func (i imageChange) Enroll(model images.Model, def images.Image) error {
	c := i.change
	ds, err := waitingFor(i, model)
	if err != nil {
		return err
	}
	for _, d := range ds {
		if d.Kind == Node {
			if err := c.becomes(d, def); err != nil {
				return err
			}
			continue
		}
		c.lab.enroll(&d, def)
		c.enrolled = append(c.enrolled, d)
		c.stirred, c.freed = true, append(c.freed, &d)
		err := c.lab.Ports.PowerCycleSoon(i, d.MAC) // it found nothing to boot so far
		if err := errors.Join(err, put(i, d)); err != nil {
			return err
		}
		c.told.Record(registration(c.actor, d, fmt.Sprintf("%s %s", d.Kind, d.Model)))
	}
	return nil
}

// waitingFor returns the devices that wait for the default image of the model.
func waitingFor(r state.Reader, model images.Model) ([]Device, error) {
	all, err := everything(r)
	waiting := slices.DeleteFunc(all, func(d Device) bool { return d.waitsFor() != model })
	return inOrder(waiting), err
}

// Uses counts the nodes of a user that boot each image, or all nodes of the lab for "".
func (l *Lab) Uses(ctx context.Context, user auth.Name) (map[images.Ref]int, error) {
	return read(ctx, l.view, func() map[images.Ref]int {
		uses := map[images.Ref]int{}
		for owner, ds := range l.view.owned {
			for _, d := range ds {
				if user == "" || owner == user {
					uses[d.Image]++
				}
			}
		}
		return uses
	})
}

// Try has one of the free nodes that boot an image boot another version of it
// first. The one that disturbs the least is taken: without a session on it, up
// rather than booting, these rather than off to save power.
func (i imageChange) Try(present, next images.Ref, not []string) (string, error) {
	ds, err := booting(i, present)
	if err != nil {
		return "", err
	}
	var able []Device
	rank := map[Name]int{}
	for _, d := range ds {
		if slices.Contains(not, string(d.Name)) {
			continue
		}
		can, how, err := i.change.lab.couldTry(i, d)
		if err != nil {
			return "", err
		}
		if can {
			able, rank[d.Name] = append(able, d), how
		}
	}
	if len(able) == 0 {
		return "", nil
	}
	first := slices.MinFunc(able, func(a, b Device) int { return cmp.Compare(rank[a.Name], rank[b.Name]) })
	return string(first.Name), i.change.assign(first, next)
}

// couldTry reports whether a node is known to come up on an image that is sound,
// and how little it disturbs to try one there: less is better. What a user switched off
// stays off, and what is retired is not to be relied on.
func (l *Lab) couldTry(r state.Reader, d Device) (can bool, rank int, err error) {
	if d.Retired() != nil || d.Booted.IsZero() { // and what took nothing is booted by something else, for all that is known
		return false, 0, nil
	}
	if l.visitors.Any(string(d.Name)) {
		rank = 10
	}
	off, asleep, err := l.Ports.Off(r, d.MAC)
	if err != nil || off.By != "" {
		return false, 0, err
	}
	s := l.status.of(d.Name)
	switch {
	case asleep:
		_, was, err := addresses.Find(r, string(d.MAC))
		return was || s.seen, rank + 2, err
	case s.State == Up:
		return true, rank, nil
	case s.State == Booting:
		return s.seen, rank + 1, nil
	}
	return false, 0, nil
}

// Move has the nodes that boot an image boot another. Without restart they go on
// with what they run, as they have the content of the other already.
func (i imageChange) Move(from, to images.Ref, restart bool) error {
	ds, err := booting(i, from)
	if err != nil {
		return err
	}
	c := i.change
	for _, d := range ds {
		if restart {
			err = c.assign(d, to)
		} else {
			moved, stay := c.moved, c.stay
			if c.stay = true; d.Booted == from {
				d.Booted = to
			}
			err = c.assign(d, to)
			c.moved, c.stay = moved, stay
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// steady is how long a node has to stay up that tries an image: some kernels die
// right after their services are there.
const steady = 10 * time.Second

// Await returns when the node that boots the image is up on it and stayed so for a
// moment, calling progress whenever that changed, and every second. When it does not
// come up within its boot.timeout, or cannot boot the image, that is a fault;
// images.ErrTaken means that no node boots the image any more.
func (l *Lab) Await(ctx context.Context, ref images.Ref, progress func(images.Trial)) error {
	began := l.Now()
	var limit time.Duration
	var late <-chan time.Time
	inTime, falls := true, 0
	wasUp := false
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		changed := l.status.next()
		d, img, err := l.trying(ctx, ref)
		if err != nil {
			return err
		}
		if late == nil {
			limit = d.Settings().BootDelay + d.Settings().bootTimeout()
			timer := time.NewTimer(limit)
			defer timer.Stop()
			late = timer.C
		}
		s := l.status.of(d.Name)
		up := s.isOn(d, img)
		if wasUp && !up {
			falls++
		}
		wasUp = up
		if up && l.Now().Sub(s.Heard) >= steady {
			if l.answers(ctx, d, s) {
				return nil
			}
			up, falls = false, falls+1
		}
		switch {
		case s.Failed && (s.took == "" || s.took == img.Digest):
			return fault.Failedf("%s cannot boot it: %s", d.Name, s.Why)
		case !inTime && !up && falls > 0:
			return fault.Failedf("%s came up on it, and did not stay up", d.Name)
		case !inTime && !up:
			return fault.Failedf("%s was not up on it within %v", d.Name, limit)
		}
		progress(images.Trial{Node: string(d.Name), State: string(s.State), Took: l.Now().Sub(began), Limit: limit})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			inTime = false
		case <-changed:
		case <-second.C:
		}
	}
}

// answers reports whether a node that is up still is: of one that goes on by itself
// the server learns late that it is not.
func (l *Lab) answers(ctx context.Context, d Device, s Status) bool {
	if !d.lasts() {
		return true
	}
	_, err := remote.Ping(ctx, l.Dial, s.Addr)
	return err == nil
}

// trying returns the node that boots an image, and that.
func (l *Lab) trying(ctx context.Context, ref images.Ref) (d Device, img images.Image, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		ds, err := booting(r, ref)
		if err != nil {
			return err
		}
		if len(ds) == 0 {
			return images.ErrTaken
		}
		d = ds[0]
		img, err = images.Get(r, ref)
		return err
	})
	return d, img, err
}
