package api

import (
	"time"

	"walt/history"
	"walt/journal"
	"walt/nodes"
)

// Events is the document of "log show"; with --realtime, each Event is a
// document of its own.
type Events struct {
	Events []Event `json:"events"`
}

// Event is something that happened. What a field has nothing to say about is "".
type Event struct {
	Time   time.Time     `json:"time"`
	Type   journal.Type  `json:"type"`
	Actor  journal.Actor `json:"actor"`  // the user who caused it, or "server"
	Node   string        `json:"node"`   // the device it is about; "" when there are several, or none
	Nodes  []string      `json:"nodes"`  // all devices it is about
	From   string        `json:"from"`   // what it was before, as the type says
	To     string        `json:"to"`     // what it is since
	Detail string        `json:"detail"` // a text for people
	Count  int           `json:"count"`  // how often it happened: refused logins that repeat are one event
	Lines  []string      `json:"lines"`  // the last of the console of a node that could not boot, for those who may see it
	Step   string        `json:"step"`   // that the boot of a node reached last which does not come up, as in Node
}

// NewEvent makes an event for programs. Images in it are named as people write
// them.
func NewEvent(e journal.Event) Event {
	return Event{
		Time: e.Time, Type: e.Type, Actor: e.Actor, Node: e.Node, Nodes: append([]string{}, e.About()...),
		From: e.From, To: e.To, Detail: e.Detail, Count: max(1, e.Count), Lines: append([]string{}, e.Lines...), Step: e.Step,
	}
}

// Lines is the document of "log show --nodes"; with --realtime, each Line is a document of
// its own.
type Lines struct {
	Lines []Line `json:"lines"`
}

// Line is what a node said.
type Line struct {
	Time   time.Time  `json:"time"` // when the server got it
	Node   nodes.Name `json:"node"`
	Stream string     `json:"stream"` // what said it on the node, as it calls itself
	Line   string     `json:"line"`
}

// Marks is the document of "log marks".
type Marks struct {
	Marks []history.Mark `json:"marks"` // the oldest first
}
