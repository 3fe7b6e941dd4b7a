package api

import (
	"cmp"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/images"
	"walt/nodes"
	"walt/power"
)

// Nodes is the document of "node show".
type Nodes struct {
	Nodes []Node `json:"nodes"`
}

// Node is a node.
type Node struct {
	Name  nodes.Name   `json:"name"`
	Model images.Model `json:"model"`
	Type  string       `json:"type"`         // "virtual" or "physical"
	Host  string       `json:"host"`         // what runs it: "simulated", "qemu" or "physical"
	Owner *auth.Name   `json:"owner"`        // null: free
	Image images.Ref   `json:"image"`        // that it boots
	State string       `json:"state"`        // "off", "booting", "up", "unreachable" or "powersave"
	Why   *string      `json:"state_reason"` // why it is unreachable; null: not known, or in another state
	IP    *string      `json:"ip"`           // null: not known
	MAC   ethernet.MAC `json:"mac"`
	Since time.Time    `json:"since"` // when the owner last changed

	Reason    *string    `json:"reason"`     // why it is in its state, whichever that is; null: nothing to say
	Step      *string    `json:"step"`       // the last that its last boot reached; null: it is off, or was not heard of
	StepSince *time.Time `json:"step_since"` // when it did; null as step
	Running   *Running   `json:"running"`    // null: nothing, or not known what
	Written   *Written   `json:"written"`    // null: not known, as of nodes that are no machines

	SwitchedOff *SwitchedOff `json:"switched_off"` // null: nobody wants it off

	Job  *nodes.Job `json:"job"`  // that its owner has it for; null: none was named
	Note *string    `json:"note"` // of its owner; null: none

	Mates []auth.Name `json:"mates"` // whom its owner shares it with; "all" is everybody
	Asks  []AskedBy   `json:"asks"`  // who would like to have it
	Until *time.Time  `json:"until"` // when the server releases it; null: nobody said
	// WhileConnected says that it does when the owner is not connected any more.
	WhileConnected bool `json:"while_connected"`

	Tags    []string `json:"tags"`    // that it is marked with, in order
	Retired *Retired `json:"retired"` // null: it is in service

	Exposed []nodes.Exposed `json:"exposed"` // ports of the server, and of the node that these lead to

	*Boot // of a node that is asked for by its name alone
}

// Boot is what the last boot of a node left, and where its serial line is.
type Boot struct {
	Steps   []Step    `json:"steps"`
	Refused []Refusal `json:"refused"` // the last files that it asked for and did not get
	Serial  *Serial   `json:"serial"`  // null: nobody said, or the server runs it
}

// Serial is where the serial line of a board is.
type Serial struct {
	At        string  `json:"at"` // as the setting says
	Connected bool    `json:"connected"`
	Reason    *string `json:"reason"` // why it is not; null: it is
}

// NewSerial makes a serial line for programs: at is "" for none, why "" when it is connected.
func NewSerial(at, why string) *Serial {
	if at == "" {
		return nil
	}
	return &Serial{at, why == "", orNull(why)}
}

// Step is one that a boot reached, and what was sent to the node for it.
type Step struct {
	Step  string     `json:"step"`
	At    *time.Time `json:"at"` // null: it was not reached yet
	Bytes int64      `json:"bytes"`
	Rate  int64      `json:"rate"` // of them, bytes a second; 0 when there are none
}

// Refusal is a file that a node did not get.
type Refusal struct {
	At    time.Time `json:"at"` // the last time
	File  string    `json:"file"`
	Why   string    `json:"reason"`
	Times int       `json:"times"`
}

// NewBoot makes a boot for programs.
func NewBoot(t nodes.Trail, s *Serial) *Boot {
	b := &Boot{[]Step{}, []Refusal{}, s}
	for _, l := range t.Legs {
		b.Steps = append(b.Steps, Step{string(l.Step), orNull(l.At), l.Bytes, l.Rate()})
	}
	for _, r := range t.Refused {
		b.Refused = append(b.Refused, Refusal(r))
	}
	return b
}

// Retired is that somebody took a node out of service.
type Retired struct {
	By     auth.Name `json:"by"`
	Since  time.Time `json:"since"`
	Reason *string   `json:"reason"` // null: none was said
}

func retired(r *nodes.Retired) *Retired {
	if r == nil {
		return nil
	}
	return &Retired{r.By, r.Since, orNull(r.Why)}
}

// AskedBy is that somebody asked the owner of a node for it.
type AskedBy struct {
	By    auth.Name `json:"by"`
	Since time.Time `json:"since"`
	Text  *string   `json:"text"` // what for; null: that was not said
}

func askedBy(all []nodes.Ask) []AskedBy {
	doc := []AskedBy{}
	for _, a := range all {
		doc = append(doc, AskedBy{a.By, a.Since, orNull(a.Text)})
	}
	return doc
}

// tags are those of a device for programs, which want a list.
func tags(d *nodes.Device) []string { return append([]string{}, d.Tags()...) }

// SwitchedOff is that somebody switched a node off, and nobody on again.
type SwitchedOff struct {
	By    auth.Name `json:"by"`
	Since time.Time `json:"since"`
}

// Running is what runs on a node; Image in Node is what it is to boot.
type Running struct {
	Image  *images.Ref `json:"image"` // null: its name is not known
	Digest string      `json:"digest"`
}

// Written is what a machine has in memory since its boot, in bytes.
type Written struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"` // that it may write
}

// NewNode makes a node for programs.
func NewNode(n *nodes.DeviceStatus) Node {
	said := n.Remarks()
	return Node{
		Name: n.Name, Model: n.Model, Type: NodeType(n.Device), Host: n.Host.String(), Owner: ownerOrNull(n.Owner()),
		Image: n.Image, State: string(n.State), Why: wrong(n.Status), IP: orNull(n.IP()), MAC: n.MAC, Since: n.Since,
		Reason: orNull(n.Why), Step: orNull(n.Step.Word()), StepSince: orNull(n.StepSince), Running: running(n.Running()),
		Written: written(n.Status), SwitchedOff: switchedOff(n.Off),
		Job: orNull(said.Job), Note: orNull(said.Note), Mates: append([]auth.Name{}, said.Mates...), Asks: askedBy(said.Asks), Until: orNull(said.Until), WhileConnected: said.Tied,
		Tags: tags(n.Device), Retired: retired(n.Retired()), Exposed: append([]nodes.Exposed{}, said.Exposed...),
	}
}

// Asks is the document of "node ask".
type Asks struct {
	Asks []Ask `json:"asks"`
}

// Ask is what came of asking the owner of a node for it.
type Ask struct {
	Name  nodes.Name `json:"name"`
	Owner auth.Name  `json:"owner"`
	Since time.Time  `json:"since"` // when the owner was told
	Told  bool       `json:"told"`  // false: that was before this command
}

// NewAsks makes a document of what came of asking.
func NewAsks(asked []nodes.Asked) Asks {
	doc := Asks{[]Ask{}}
	for _, a := range asked {
		doc.Asks = append(doc.Asks, Ask{a.Node, a.Owner, a.Since, a.Told})
	}
	return doc
}

func switchedOff(o power.Off) *SwitchedOff {
	if o.By == "" {
		return nil
	}
	return &SwitchedOff{auth.Name(o.By), o.Since}
}

func running(r nodes.Running) *Running {
	if r.Digest == "" {
		return nil
	}
	return &Running{orNull(r.Image), r.Digest}
}

func written(s nodes.Status) *Written {
	if s.Room == 0 {
		return nil
	}
	return &Written{s.Written, s.Room}
}

// wrong is why a node, or a switch, is unreachable, null in another state.
func wrong(s nodes.Status) *string {
	if s.State == nodes.Unreachable {
		return orNull(s.Why)
	}
	return nil
}

// NodeType says whether a node is a machine of its own.
func NodeType(d *nodes.Device) string {
	if d.Virtual() {
		return "virtual"
	}
	return "physical"
}

// Changes is the document of "node acquire", "node release", "node boot" and "node create",
// and of "node reboot", "node on" and "node off", which change no image.
type Changes struct {
	Cloned []images.Ref `json:"cloned"` // images that this command made for the user
	Nodes  []Change     `json:"nodes"`
}

// Change is what one command did to one node.
type Change struct {
	Name     nodes.Name `json:"name"`
	Owner    *auth.Name `json:"owner"`             // now; null: free
	Image    images.Ref `json:"image"`             // that it boots now
	Previous *auth.Name `json:"previous_owner"`    // null: it was free
	Changed  bool       `json:"changed"`           // false: it booted that image already and was left alone
	Reboot   string     `json:"reboot"`            // "ok", "skipped", "none" (the server has no means to), or why it failed; of "node on" and "node off" what came of that
	Reason   *string    `json:"reboot_reason"`     // why the reboot failed; null: it did not
	Until    *time.Time `json:"until,omitzero"`    // when the server releases it, if that is said
	With     nodes.Name `json:"with,omitempty"`    // for the sake of which node its power was switched, since they share outlets
	Rousing  bool       `json:"rousing,omitempty"` // packets were sent that wake it, and it has not shown itself yet
}

// NewChanges makes a document of what one command did.
func NewChanges(r nodes.Result) Changes {
	doc := Changes{[]images.Ref{}, []Change{}}
	for _, ch := range r.Changes {
		doc.Nodes = append(doc.Nodes, Change{
			Name: ch.Node, Owner: ownerOrNull(cmp.Or(ch.Next, ch.Image.User)), Image: ch.Image, Previous: ownerOrNull(ch.Previous),
			Changed: ch.Changed, Reboot: ch.Reboot.String(), Reason: orNull(ch.Reboot.Reason), Until: orNull(ch.Until), With: ch.With, Rousing: ch.Reboot.Rousing,
		})
	}
	for _, img := range r.Cloned {
		doc.Cloned = append(doc.Cloned, img.Ref)
	}
	return doc
}
