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
	Switch *string    `json:"switch"`       // null: it is no port
	Port   *int       `json:"port"`         // the same
	Name   *string    `json:"port_name"`    // that the switch calls it; null: not known
	Node   *string    `json:"node"`         // that is connected to it; null: not known
	Power  string     `json:"power"`        // "on", "off", or what is about to be done: a text for people
	Since  *time.Time `json:"since"`        // of that; null: it is on
	Error  *string    `json:"error"`        // why that is not done; null: nothing failed
	State  *string    `json:"state"`        // "on", "off" or "unknown", as the device says now; with two outlets that differ "on+off" and its like; null: it was not asked
	Doubt  *string    `json:"state_reason"` // why it is unknown; null: there is nothing to say
	// LastError is the last that could not be done since the server started, and LastAt when;
	// null: there is none since it did what it was told.
	LastError *string    `json:"last_error"`
	LastAt    *time.Time `json:"last_error_at"`
	// Outlet is what feeds a node in the place of a port, with + between, or "wol"; only there where that is so.
	Outlet string `json:"outlet,omitempty"`
	// Outlets are the same one by one.
	Outlets []Outlet `json:"outlets,omitempty"`
}

// Outlet is one that a driver switches.
type Outlet struct {
	Driver string  `json:"driver"`
	Host   *string `json:"host"`         // of the device; null: the driver has one itself
	Port   *string `json:"port"`         // null: the device has one outlet alone
	State  string  `json:"state"`        // "on", "off" or "unknown", as the device says now
	Doubt  *string `json:"state_reason"` // why it is unknown; null: there is nothing to say
}

// NewPower makes a document of what the server does with the power of ports.
func NewPower(r power.Report) Power {
	doc := Power{[]Port{}, r.Saved.Hours()}
	for _, p := range r.Ports {
		port := Port{Switch: orNull(p.Switch), Name: orNull(p.Name), Outlet: p.Outlet, Node: orNull(p.Node), Power: p.Power, Error: orNull(p.Error)}
		if p.Switch != "" {
			port.Port = &p.Number
		}
		port.State, port.Doubt, port.LastError = orNull(p.State), orNull(p.Doubt), orNull(p.Last.Why)
		if p.Last.Why != "" {
			port.LastAt = &p.Last.At
		}
		for _, o := range p.Outlets {
			port.Outlets = append(port.Outlets, Outlet{Driver: o.Outlet.Driver, Host: orNull(o.Outlet.Host), Port: orNull(o.Outlet.Port), State: string(o.State), Doubt: orNull(o.Why)})
		}
		if !p.Since.IsZero() {
			port.Since = &p.Since
		}
		doc.Ports = append(doc.Ports, port)
	}
	return doc
}
