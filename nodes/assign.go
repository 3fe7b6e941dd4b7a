package nodes

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"walt/auth"
	"walt/images"
	"walt/journal"
)

// assign makes a device boot an image.
func (c *change) assign(d Device, ref images.Ref) error {
	img, err := images.Get(c.tx, ref)
	if err != nil {
		return err
	}
	return c.assignImage(d, img)
}

// assignImage makes a device boot an image: the only place where a node changes hands.
// The image was read in the same transaction, so that it exists and lists the model at
// the moment of the change.
func (c *change) assignImage(d Device, img images.Image) error {
	ref := img.Ref
	if ref.User != auth.Nobody && c.remarks.End.over(c.lab.Now()) {
		return errOver
	}
	if !img.Boots(d.Model) {
		return fmt.Errorf("boot %s (%s) on %s, which is for %v", d.Name, d.Model, ref, img.Models)
	}
	previous, before, note := d.Owner(), d.Image, d.Remarks().Note
	c.result.Changes = append(c.result.Changes, Change{
		Node: d.Name, Model: d.Model, Image: ref, Digest: img.Digest, Previous: previous, Changed: before != ref, Reboot: Reboot{Outcome: RebootSkipped}, Retired: d.Retired(),
	})
	if err := c.lab.Ports.NoteUse(c.tx, d.MAC); err != nil {
		return err
	}
	if before == ref {
		return c.made(errors.Join(c.powerOn(d), c.remark(d)))
	}
	e := journal.Event{Type: journal.Boot, Actor: c.actor, Node: string(d.Name), From: before.String(), To: ref.String()}
	why := "boots another image"
	if previous != ref.User {
		switch why = "acquired"; {
		case ref.User == auth.Nobody:
			why = "released"
		case previous == auth.UserOf(c.actor):
			why = "given"
		}
		d.Since, d.Said = c.lab.Now().UTC(), nil
		e = journal.Event{
			Type: journal.Ownership, Actor: c.actor, Node: string(d.Name),
			From: ownerInLog(previous), To: ownerInLog(ref.User), Detail: "boots " + ref.String(),
		}
		if c.wish != nil {
			e.Detail += ", as " + string(c.wish.User) + " waited"
		}
	}
	if previous != "" && previous != auth.Nobody && previous != auth.UserOf(c.actor) {
		if c.actor != journal.Server { // which asks nobody
			e.Detail += ", " + c.given.Manner()
		}
		c.told.Tell(string(previous), string(d.Name), c.notice(ref, note))
		if ref.User == auth.Nobody {
			if c.back == nil {
				c.back = map[Name]string{}
			}
			c.back[d.Name] = note
		}
	}
	if c.because != "" && ref.User == auth.Nobody {
		e.Detail += ", " + c.because
	}
	was := d
	d.Image = ref
	if d.Free() {
		c.stirred, c.freed = true, append(c.freed, &d)
	} else {
		d.say(c.said(d, previous != ref.User))
		if until := d.Hold(); !until.IsZero() && previous != ref.User {
			e.Detail += ", until " + untilInLog(until)
		}
	}
	c.result.last().hold(d)
	c.told.Record(e)
	return c.made(errors.Join(c.move(d, true, why), devices.Put(c.tx, string(d.Name), d), reindex(c.tx, was, d)))
}

// remark adds the remarks of the command to a node that stays what it is.
func (c *change) remark(d Device) error {
	if !d.Free() && !c.remarks.empty() {
		d.say(c.said(d, false))
	}
	c.result.last().hold(d)
	if d.Free() || c.remarks.empty() {
		return nil
	}
	return devices.Put(c.tx, string(d.Name), d)
}

// made counts a change that was made unless it failed.
func (c *change) made(err error) error {
	if err == nil {
		c.fitting.add(c.tx, &c.told)
	}
	return err
}

// powerOn has a device that boots its image already get its power if that is off.
func (c *change) powerOn(d Device) error {
	if off, err := c.lab.Ports.IsOff(c.tx, d.MAC); err != nil || !off {
		return err
	}
	return c.move(d, true, "woken")
}

// notice is what the previous owner of a node is told, who noted something of it or "".
func (c *change) notice(ref images.Ref, noted string) journal.Notice {
	who := c.actor.Words()
	noted = quoted(", of which you noted ", noted)
	switch ref.User {
	case auth.Nobody:
		if c.because == holdEnded {
			return endNotice
		}
		return journal.Notice{
			One:     who + " gave your node %s back" + noted + ": it is free and boots its default image",
			Several: who + " gave %s back" + noted + ", which are free and boot their default images",
		}
	case auth.UserOf(c.actor):
		noted += quoted(", noting ", c.remarks.Note)
		return journal.Notice{One: who + " took your node %s" + noted, Several: who + " took %s" + noted}
	}
	to := string(ref.User) + noted
	return journal.Notice{One: who + " passed your node %s to " + to, Several: who + " passed %s to " + to}
}

// wentOn tells the previous owner of a node that it is not free, but somebody's who waited.
func (c *change) wentOn(ch Change) {
	note, told := c.back[ch.Node]
	free := c.notice(images.DefaultRef(ch.Model), note)
	if !told || free == endNotice { // which is true of both
		return
	}
	who, noted, waited := c.actor.Words(), quoted(", of which you noted ", note), string(ch.Next)+"'s now, who waited for "
	if ch.Next == ch.Previous {
		waited = "yours again, since you waited for "
	}
	c.told.Untell(string(ch.Previous), string(ch.Node), free)
	c.told.Tell(string(ch.Previous), string(ch.Node), journal.Notice{
		One:     who + " gave your node %s back" + noted + ": it is " + waited + "it",
		Several: who + " gave %s back" + noted + ", which are " + waited + "them",
	})
}

// quoted is what a user said, in quotes, which nothing in it can end, and in a format, behind
// what leads to it; "" if the user said nothing.
func quoted(lead, said string) string {
	if said == "" {
		return ""
	}
	return lead + strings.ReplaceAll(strconv.Quote(said), "%", "%%")
}

// ownerInLog is a user's name for the journal: "" for what is free.
func ownerInLog(n auth.Name) string {
	if n == auth.Nobody {
		return ""
	}
	return string(n)
}

// take makes each device boot the user's clone of its default image. All clones are there
// before the first device changes hands: what a user did with an image is in the way of none.
func (c *change) take(ds []Device, user auth.Name) error {
	clones := map[images.Model]images.Image{}
	for _, d := range ds {
		if _, known := clones[d.Model]; known {
			continue
		}
		clone, err := c.clone(user, d.Model)
		if err != nil {
			return err
		}
		clones[d.Model] = clone
	}
	for _, d := range ds {
		if err := c.assignImage(d, clones[d.Model]); err != nil {
			return err
		}
	}
	return nil
}
