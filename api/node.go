package api

import (
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/images"
	"walt/nodes"
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
	Host  string       `json:"host"`         // "physical" or "simulated"
	Owner *auth.Name   `json:"owner"`        // null: free
	Image images.Ref   `json:"image"`        // that it boots
	State string       `json:"state"`        // "off", "booting", "up", "unreachable", "failed" or "powersave"
	Why   *string      `json:"state_reason"` // why it is unreachable or failed; null: not known, or in another state
	IP    *string      `json:"ip"`           // null: not known
	MAC   ethernet.MAC `json:"mac"`
	Since time.Time    `json:"since"` // when the owner last changed
}

// NewNode makes a node for programs.
func NewNode(n *nodes.DeviceStatus) Node {
	return Node{
		Name: n.Name, Model: n.Model, Type: NodeType(*n.Device), Host: n.Host.String(), Owner: ownerOrNull(n.Owner()),
		Image: n.Image, State: string(n.State), Why: orNull(n.Why), IP: orNull(n.IP()), MAC: n.MAC, Since: n.Since,
	}
}

// NodeType says whether a node is a machine of its own.
func NodeType(d nodes.Device) string {
	if d.Virtual() {
		return "virtual"
	}
	return "physical"
}

// Changes is the document of "node acquire", "node release" and "node boot".
type Changes struct {
	Cloned []images.Ref `json:"cloned"` // images that this command made for the user
	Nodes  []Change     `json:"nodes"`
}

// Change is what one command did to one node.
type Change struct {
	Name     nodes.Name `json:"name"`
	Owner    *auth.Name `json:"owner"`          // now; null: free
	Image    images.Ref `json:"image"`          // that it boots now
	Previous *auth.Name `json:"previous_owner"` // null: it was free
	Changed  bool       `json:"changed"`        // false: it booted that image already and was left alone
	Reboot   string     `json:"reboot"`         // "ok", "skipped", "none" (the server has no means to), or why it failed
	Reason   *string    `json:"reboot_reason"`  // why the reboot failed; null: it did not
}

// NewChanges makes a document of what one command did.
func NewChanges(r nodes.Result) Changes {
	doc := Changes{[]images.Ref{}, []Change{}}
	for _, ch := range r.Changes {
		doc.Nodes = append(doc.Nodes, Change{
			Name: ch.Node, Owner: ownerOrNull(ch.Image.User), Image: ch.Image, Previous: ownerOrNull(ch.Previous),
			Changed: ch.Changed, Reboot: ch.Reboot.String(), Reason: orNull(ch.Reboot.Reason),
		})
	}
	for _, img := range r.Cloned {
		doc.Cloned = append(doc.Cloned, img.Ref)
	}
	return doc
}
