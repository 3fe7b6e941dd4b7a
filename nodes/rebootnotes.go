package nodes

import (
	"context"
	"errors"
	"sync"

	"walt/auth"
	"walt/journal"
	"walt/state"
)

// rebootNotes tell the log what came of the reboots of one command, those that end
// while others are written in one transaction, and after the last of them the owners.
type rebootNotes struct {
	lab   *Lab
	user  auth.Name
	quiet bool // the owners are not told

	writing sync.Mutex // held by who writes
	told    journal.Bundle
	left    int // that are not written yet; with told, of who writes

	mu   sync.Mutex
	next *noteRound // whom nobody writes yet; nil when there is none
}

// noteRound is reboots that are written together.
type noteRound struct {
	devices []Device
	reboots []Reboot
	done    chan struct{} // closed when they are written
}

// none notes of those devices which the server cannot reboot that it has no means to, many
// together, and returns the others.
func (n *rebootNotes) none(ctx context.Context, ds []Device, cannot func(Device) bool, each func(Device, Reboot)) (others []Device) {
	const atOnce = 10_000 // whose names one transaction has room for
	var round noteRound
	write := func() {
		if len(round.devices) > 0 {
			n.writing.Lock()
			defer n.writing.Unlock()
			n.write(context.WithoutCancel(ctx), &round)
			round.devices, round.reboots = round.devices[:0], round.reboots[:0]
		}
	}
	for _, d := range ds {
		if !cannot(d) {
			others = append(others, d)
			continue
		}
		r := Reboot{Outcome: RebootNone}
		round.devices, round.reboots = append(round.devices, d), append(round.reboots, r)
		if len(round.devices) == atOnce {
			write()
		}
		each(d, r)
	}
	write()
	return others
}

// add returns when it is written what came of a reboot.
func (n *rebootNotes) add(ctx context.Context, d Device, r Reboot) {
	n.mu.Lock()
	first := n.next == nil
	if first {
		n.next = &noteRound{done: make(chan struct{})}
	}
	round := n.next
	round.devices, round.reboots = append(round.devices, d), append(round.reboots, r)
	n.mu.Unlock()
	if !first {
		<-round.done
		return
	}
	n.writing.Lock()
	defer n.writing.Unlock()
	n.mu.Lock()
	n.next = nil
	n.mu.Unlock()
	defer close(round.done)
	n.write(ctx, round)
}

func (n *rebootNotes) write(ctx context.Context, round *noteRound) {
	for i, d := range round.devices {
		if round.reboots[i].Outcome == RebootOK && !n.quiet {
			tell(&n.told, n.user, d, journal.Notice{One: string(n.user) + " rebooted your node %s", Several: string(n.user) + " rebooted %s"})
		}
	}
	n.left -= len(round.devices)
	_, err := n.lab.Store.Update(ctx, func(tx state.Tx) error {
		var events journal.Bundle
		for i, d := range round.devices {
			what := "reboot: "
			if round.reboots[i].Outcome == RebootFailed {
				what = "could not reboot: "
			}
			events.Record(journal.Event{Type: journal.Power, Actor: n.user.Actor(), Node: string(d.Name), Detail: what + round.reboots[i].String()})
		}
		if n.left > 0 {
			return n.lab.Journal.Write(tx, events)
		}
		return errors.Join(n.lab.Journal.Write(tx, events), n.lab.Journal.Write(tx, n.told))
	})
	if err != nil {
		n.lab.Log.Error("note reboots", "node", round.devices[0].Name, "nodes", len(round.devices), "err", err)
	}
}
