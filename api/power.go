package api

import (
	"time"

	"walt/power"
)

// Power is the document of "power show".
type Power struct {
	Ports      []Port  `json:"ports"`
	SavedHours float64 `json:"saved_port_hours"` // for how long ports were off so far, all added up
}

// Port is a port of a switch that the server may switch, a node that outlets of drivers
// feed, or a virtual node that saves power when it is off.
type Port struct {
	Switch *string    `json:"switch"`    // null: it is no port
	Port   *int       `json:"port"`      // the same
	Name   *string    `json:"port_name"` // that the switch calls it; null: not known
	Node   *string    `json:"node"`      // that is connected to it; null: not known
	Power  string     `json:"power"`     // "on", "off", or what is about to be done: a text for people
	Since  *time.Time `json:"since"`     // of that; null: it is on
	Error  *string    `json:"error"`     // why that is not done; null: nothing failed
	// Outlet is what feeds a node in the place of a port, with + between, or "wol"; only there where that is so.
	Outlet string `json:"outlet,omitempty"`
}

// NewPower makes a document of what the server does with the power of ports.
func NewPower(r power.Report) Power {
	doc := Power{[]Port{}, r.Saved.Hours()}
	for _, p := range r.Ports {
		port := Port{Switch: orNull(p.Switch), Name: orNull(p.Name), Outlet: p.Outlet, Node: orNull(p.Node), Power: p.Power, Error: orNull(p.Error)}
		if p.Switch != "" {
			port.Port = &p.Number
		}
		if !p.Since.IsZero() {
			port.Since = &p.Since
		}
		doc.Ports = append(doc.Ports, port)
	}
	return doc
}
