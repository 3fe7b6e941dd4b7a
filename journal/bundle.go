package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/fault"
	"walt/state"
)

// eachEvent is how many devices one event names at most: what a row may hold.
const eachEvent = 10_000

// About lists the devices that the event is about.
func (e Event) About() []string {
	if e.Node != "" {
		return []string{e.Node}
	}
	return e.Nodes
}

// of is the event for some devices.
func (e Event) of(nodes []string) Event {
	if e.Node, e.Nodes = "", nodes; len(nodes) == 1 {
		e.Node, e.Nodes = nodes[0], nil
	}
	return e
}

// Of is the event for those of its devices that are wanted; ok is false when none
// is.
func (e Event) Of(wanted func(node string) bool) (some Event, ok bool) {
	var nodes []string
	for _, n := range e.About() {
		if wanted(n) {
			nodes = append(nodes, n)
		}
	}
	return e.of(nodes), len(nodes) > 0
}

// One is the event for one of its devices.
func (e Event) One(node string) Event {
	e.Node, e.Nodes = node, nil
	return e
}

// Filter returns what of an event is wanted, and whether anything is: of one about
// several devices, perhaps what it says of some of them.
type Filter func(Event) (some Event, ok bool)

// Bundle gathers what one command does to several devices: events that differ in
// nothing but their device become one, and so do notices to a user that differ in
// nothing but the node. The zero Bundle is empty.
type Bundle struct {
	events  []*Event            // in the order of the first device of each
	last    likeness            // of the event that was added to last
	to      *Event              // which that is; nil before the first
	kinds   map[likeness]*Event // the others
	notices []*told
	same    map[told]*told
	rows    int // that Write writes
	bytes   int // of them at most, as state.Limit counts
}

// likeness is what events that become one have in common.
type likeness struct {
	Type             Type
	Actor            Actor
	From, To, Detail string
}

// Notice is what the owner of a node is told, and what the owner of several is:
// formats in which the node, or as in "12 of your nodes" their number, is put. Then is what
// the latter may do about them, unless these are many: a format for their names as a set.
type Notice struct{ One, Several, Then string }

// told is a notice to a user and the nodes that it is about.
type told struct {
	user   string
	notice Notice
	nodes  *[]string
}

// Record adds an event about e.Node.
func (b *Bundle) Record(e Event) {
	k := likeness{e.Type, e.Actor, e.From, e.To, e.Detail}
	if b.to == nil || k != b.last { // mostly there is one kind
		if b.to != nil {
			if b.kinds == nil {
				b.kinds = map[likeness]*Event{}
			}
			b.kinds[b.last] = b.to
		}
		if b.last, b.to = k, b.kinds[k]; b.to == nil {
			b.to = &Event{Type: e.Type, Actor: e.Actor, From: e.From, To: e.To, Detail: e.Detail}
			b.events = append(b.events, b.to)
		}
	}
	if len(b.to.Nodes)%eachEvent == 0 {
		b.takes(string(e.Type), string(e.Actor), e.From, e.To, e.Detail)
	}
	b.to.Nodes = append(b.to.Nodes, e.Node)
	b.bytes += len(`"",`) + len(e.Node)
}

// takes counts a row with these texts.
func (b *Bundle) takes(texts ...string) {
	const (
		rest    = 256 // its key, the time, the names of fields
		escaped = 6   // bytes that one of a text may be in JSON
	)
	b.rows++
	b.bytes += state.RowBytes + rest
	for _, text := range texts {
		b.bytes += escaped * len(text)
	}
}

// Fits reports whether a transaction that has room for so much has room for the bundle.
func (b *Bundle) Fits(room state.Limit) bool { return b.rows <= room.Rows && b.bytes <= room.Bytes }

// Tell adds a notice for the owner of a node.
func (b *Bundle) Tell(user, node string, n Notice) {
	k := told{user: user, notice: n}
	if b.same == nil {
		b.same = map[told]*told{}
	}
	t := b.same[k]
	if t == nil {
		t = &told{user, n, new([]string)}
		b.takes(user, user, n.One, n.Several, n.Then)
		b.bytes += 2 * fault.MostNames * (len(node) + 64) // the names of nodes are shorter
		b.same[k], b.notices = t, append(b.notices, t)
	}
	*t.nodes = append(*t.nodes, node)
}

// Untell takes back what Tell added of a node.
func (b *Bundle) Untell(user, node string, n Notice) {
	if t := b.same[told{user: user, notice: n}]; t != nil {
		*t.nodes = slices.DeleteFunc(*t.nodes, func(other string) bool { return other == node })
	}
}

// Events takes the events out of the bundle, and leaves the notices. What it counts of them
// stays counted.
func (b *Bundle) Events() Bundle {
	only := Bundle{events: b.events}
	b.events, b.last, b.to, b.kinds = nil, likeness{}, nil, nil
	return only
}

// Write appends the events of a bundle within tx, and leaves its notices.
func (j *Journal) Write(tx state.Tx, b Bundle) error {
	var err error
	for _, e := range b.events {
		for nodes := range slices.Chunk(e.Nodes, eachEvent) {
			err = errors.Join(err, j.Record(tx, e.of(nodes)))
		}
	}
	for _, t := range b.notices {
		if len(*t.nodes) == 0 {
			continue
		}
		err = errors.Join(err, j.Tell(tx, t.user, t.notice.words(*t.nodes)))
	}
	return err
}

func (n Notice) words(nodes []string) string {
	if len(nodes) == 1 {
		return fmt.Sprintf(n.One, nodes[0])
	}
	text := fmt.Sprintf(n.Several, fmt.Sprintf("%d of your nodes", len(nodes))) + ": " + fault.Few(nodes)
	if n.Then != "" && !fault.Many(nodes) {
		text += fmt.Sprintf(n.Then, strings.Join(nodes, ","))
	}
	return text
}
