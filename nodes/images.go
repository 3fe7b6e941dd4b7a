package nodes

import (
	"context"
	"errors"

	"walt/consent"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Change runs f in one transaction, and then restarts the nodes that f said. With
// it, and with Models, the lab is what package images asks for: its Nodes.
func (l *Lab) Change(ctx context.Context, actor journal.Actor, f func(images.Change) error) ([]images.Restart, error) {
	result, err := l.change(ctx, actor, consent.Agreement{}, func(c *change) error { return f(imageChange{c.tx, c}) })
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
		using = append(using, images.Node{Claim: d.claim(), Model: d.Model, Visitors: i.change.lab.visitors.Users(string(d.Name)), Failed: i.change.lab.status.of(d.Name).State == Failed})
	}
	return using, err
}

func (i imageChange) Restart(n images.Node) error {
	d, err := devices.Get(i, n.Node)
	if err != nil {
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
		c.lab.enroll(&d, def)
		c.enrolled = append(c.enrolled, d)
		err := c.lab.Ports.PowerCycleSoon(i, d.MAC) // it found nothing to boot so far
		err = errors.Join(err, put(i, d), c.lab.Journal.Record(i, registration(c.actor, d, "")))
		if err != nil {
			return err
		}
	}
	return nil
}

// waitingFor returns the devices that wait for the default image of the model.
func waitingFor(r state.Reader, model images.Model) ([]Device, error) {
	all, err := everything(r)
	return which(all, func(d Device) bool { return d.Kind == Unknown && d.Model == model }), err
}

// Uses counts the nodes that boot each image.
func Uses(all []DeviceStatus) map[images.Ref]int {
	uses := map[images.Ref]int{}
	for _, n := range all {
		if n.Kind == Node {
			uses[n.Image]++
		}
	}
	return uses
}
