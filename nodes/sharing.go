package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Note has others know what the user notes of own nodes, see ParseNote; with "" nothing any
// more. It returns the nodes.
func (l *Lab) Note(ctx context.Context, user auth.Name, set Set, note string) ([]Name, error) {
	detail := "has no note any more"
	if note != "" {
		detail = "note: " + strconv.Quote(note)
	}
	return l.revise(ctx, user, set, detail, func(r *Remarks) { r.Note = note }, func(state.Tx) error { return nil })
}

// Share has mates of the user not be asked before they use own nodes of the user, see
// claimsToUse, and nobody else. It returns the nodes.
func (l *Lab) Share(ctx context.Context, user auth.Name, set Set, mates []auth.Name) ([]Name, error) {
	if slices.Contains(mates, user) {
		return nil, fault.Usagef("%s is you; nothing changed", user).WithHint("name others: you are never asked about your own nodes")
	}
	detail := "shared with " + SharedWith(mates)
	done, err := l.revise(ctx, user, set, detail, func(r *Remarks) { r.Mates = mates }, func(tx state.Tx) error {
		for _, m := range mates {
			if m == auth.Everybody {
				continue
			}
			if err := auth.Hold(tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, n := range done {
		l.guests.Dismiss(string(n), shares(mates), fault.Failedf("%s does not share %s with you any more", user, n).WithHint("ask for it with: node ask %s", n))
	}
	return done, nil
}

// shares returns what tells whether a user is among mates.
func shares(mates []auth.Name) func(auth.Name) bool {
	return func(user auth.Name) bool {
		return slices.Contains(mates, user) || slices.Contains(mates, auth.Everybody)
	}
}

// revise changes the remarks on own nodes of the user, once may has no objection, and tells
// the log so.
func (l *Lab) revise(ctx context.Context, user auth.Name, set Set, detail string, revised func(*Remarks), may func(state.Tx) error) (done []Name, err error) {
	_, err = l.commit(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		done = nil
		ds, err := c.own(ctx, set, user)
		if err != nil {
			return err
		}
		if err := may(c.tx); err != nil {
			return err
		}
		for _, d := range ds {
			r := d.Remarks()
			revised(&r)
			d.say(r)
			c.told.Record(journal.Event{Type: journal.Sharing, Actor: c.actor, Node: string(d.Name), Detail: detail})
			if err := c.made(devices.Put(c.tx, string(d.Name), d)); err != nil {
				return err
			}
			done = append(done, d.Name)
		}
		return nil
	})
	return done, err
}

// own returns the nodes of the set, all of which have to be the user's.
func (c *change) own(ctx context.Context, set Set, user auth.Name) ([]Device, error) {
	ds, err := set.expand(c.lab.stored(ctx, c.tx), user, nodeScope)
	if err != nil {
		return nil, err
	}
	if not, _ := notOf(ds, user); len(not) > 0 {
		return nil, fault.Failedf("not yours: %s; nothing changed", fault.Few(not)).
			WithHint("this is for who owns a node; see your own with: node show")
	}
	return ds, nil
}

// notOf lists those of the devices that are not the user's, with whose they are; others says
// that one of them is somebody's.
func notOf(ds []Device, user auth.Name) (not []string, others bool) {
	for _, d := range ds {
		switch {
		case d.Free():
			not = append(not, string(d.Name)+" (free)")
		case d.Owner() != user:
			others = true
			not = append(not, fmt.Sprintf("%s (owned by %s)", d.Name, d.Owner()))
		}
	}
	return not, others
}

// ParseMates parses whom nodes are shared with: users joined by commas, "all" or "none". It
// returns them sorted, each once.
func ParseMates(s string) (mates []auth.Name, err error) {
	const most = 50
	switch s {
	case string(auth.Everybody):
		return []auth.Name{auth.Everybody}, nil
	case "none":
		return nil, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		if word == string(auth.Everybody) || word == "none" {
			return nil, fault.Usagef("%q stands alone, not in %q", word, s).WithHint("it is users joined by commas, or all, or none")
		}
		m, err := auth.ParseName(word)
		if err != nil {
			return nil, err
		}
		mates = append(mates, m)
	}
	slices.Sort(mates)
	if mates = slices.Compact(mates); len(mates) > most {
		return nil, fault.Usagef("these are %d users, of which %d are possible", len(mates), most).WithHint("share with everybody: all")
	}
	return mates, nil
}

// SharedWith are mates in words.
func SharedWith(mates []auth.Name) string {
	switch {
	case len(mates) == 0:
		return "nobody"
	case slices.Contains(mates, auth.Everybody):
		return "everybody"
	}
	return fault.Joined(mates, ", ")
}

// sharedWith reports whether the owner of the device shares it with the user.
func (d *Device) sharedWith(user auth.Name) bool {
	return d.Said != nil && shares(d.Said.Mates)(user)
}

// Ask is that a user would like to have a node of somebody else.
type Ask struct {
	By    auth.Name `json:"by"`
	Since time.Time `json:"since"`
	Text  string    `json:"text,omitempty"` // see ParseNote
}

// Asked is what came of asking for one node.
type Asked struct {
	Node  Name
	Owner auth.Name
	Since time.Time
	Told  bool // the owner is told now; false: was told Since then
}

const (
	// asksAnHour is how often a user may ask one owner for nodes, some at once or one.
	asksAnHour = 10
	// mostAsks is how many users may ask for one node.
	mostAsks = 16
)

// Ask tells the owners of the nodes of the set, once of each node, that the user would like
// to have them; the text, which may be "", says what for. It ends with the ownership.
func (l *Lab) Ask(ctx context.Context, user auth.Name, set Set, text string) (all []Asked, err error) {
	_, err = l.commit(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		all = nil
		if err := auth.Hold(c.tx, user); err != nil {
			return err
		}
		ds, err := set.expand(l.stored(ctx, c.tx), user, nodeScope)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if err := cannotAsk(d, user); err != nil {
				return err
			}
		}
		now := l.Now().UTC()
		for _, d := range ds {
			r := d.Remarks()
			if i := slices.IndexFunc(r.Asks, func(a Ask) bool { return a.By == user }); i >= 0 {
				all = append(all, Asked{Node: d.Name, Owner: d.Owner(), Since: r.Asks[i].Since})
				continue
			}
			if len(r.Asks) >= mostAsks {
				return fault.New(fault.InUse, "%d users ask for %s already; nobody was told", mostAsks, d.Name).WithHint("look for another one with: node show --all")
			}
			if err := l.patient(ctx, user, d.Owner(), now); err != nil {
				return err
			}
			r.Asks = append(slices.Clone(r.Asks), Ask{By: user, Since: now, Text: text})
			d.say(r)
			if !l.offers.open(d.Owner(), user) { // else the owner waits for just that
				c.told.Tell(string(d.Owner()), string(d.Name), askNotice(user, text))
			}
			detail := "asked " + string(d.Owner()) + " for it"
			if text != "" {
				detail += ": " + strconv.Quote(text)
			}
			c.told.Record(journal.Event{Type: journal.Sharing, Actor: c.actor, Node: string(d.Name), Detail: detail})
			if err := c.made(devices.Put(c.tx, string(d.Name), d)); err != nil {
				return err
			}
			all = append(all, Asked{d.Name, d.Owner(), now, true})
		}
		return nil
	})
	return all, err
}

// cannotAsk is why nobody is to be asked for a device, nil if somebody is.
func cannotAsk(d Device, user auth.Name) error {
	switch retired := d.Retired(); {
	case d.Free() && retired == nil:
		return fault.Failedf("%s is free; nobody was told", d.Name).WithHint("take it with: node acquire %s", d.Name)
	case d.Owner() == user:
		return fault.Failedf("%s is yours; nobody was told", d.Name).WithHint("see your nodes with: node show")
	case retired != nil:
		return fault.Failedf("%s is out of service; nobody was told", d.Name).WithHint("see why with: node show %s", d.Name)
	}
	return nil
}

// patient is a fault when the user has asked the owner often.
func (l *Lab) patient(ctx context.Context, user, owner auth.Name, now time.Time) error {
	times, err := read(ctx, l.view, func() map[time.Time]bool {
		times := map[time.Time]bool{}
		for _, d := range l.view.owned[owner] {
			for _, a := range d.Remarks().Asks {
				if a.By == user && now.Sub(a.Since) < time.Hour {
					times[a.Since] = true
				}
			}
		}
		return times
	})
	if err == nil && len(times) >= asksAnHour {
		return fault.New(fault.InUse, "you asked %s %d times within an hour; %s was not told", owner, len(times), owner).
			WithHint("ask again later, or take a free node: node show --free")
	}
	return err
}

// askNotice is what an owner is told who is asked for nodes.
func askNotice(user auth.Name, text string) journal.Notice {
	return journal.Notice{
		One:     string(user) + " asks for your node %[1]s" + quoted(": ", text) + "; to give it: node give %[1]s " + string(user),
		Several: string(user) + " asks for %s" + quoted(", saying ", text),
		Then:    "; to give them: node give %s " + string(user),
	}
}

// forgetMate has no owner share nodes any more with a user who is removed, and that user ask
// for none: within the transaction that removes the user, so that nobody who gets the name
// later is meant.
func (c *change) forgetMate(ctx context.Context, name auth.Name) error {
	knows := func(r Remarks) bool {
		return slices.Contains(r.Mates, name) || slices.ContainsFunc(r.Asks, func(a Ask) bool { return a.By == name })
	}
	found, err := read(ctx, c.lab.view, func() []*Device {
		return c.lab.view.which(func(d *Device) bool { return d.Said != nil && knows(*d.Said) })
	})
	for _, f := range found {
		d, here, findErr := devices.Find(c.tx, string(f.Name))
		if err = errors.Join(err, findErr); err != nil || !here || !knows(d.Remarks()) {
			continue
		}
		r := d.Remarks()
		r.Mates = slices.DeleteFunc(slices.Clone(r.Mates), func(m auth.Name) bool { return m == name })
		r.Asks = slices.DeleteFunc(slices.Clone(r.Asks), func(a Ask) bool { return a.By == name })
		d.say(r)
		err = devices.Put(c.tx, string(d.Name), d)
	}
	return err
}
