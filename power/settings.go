package power

import (
	"cmp"
	"errors"
	"strconv"
	"strings"

	"walt/ethernet"
	"walt/power/snmp"
	"walt/state"
)

// Setting is a field of a T as people see and change it.
type Setting[T any] struct {
	Key     string
	Allowed string // the values, for people
	Secret  bool
	Get     func(*T) string // "" when it is not set
	Note    func(*T) string // what people may want to know of the value; nil: nothing
	// Set changes it. An error other than a fault, as ErrNotAllowed, stands for a
	// value that is not allowed.
	Set func(t *T, value string) error
}

// Outlet is where a device is connected, while it is shown or changed.
type Outlet struct {
	Switch string // its name
	Number int    // of the port
	Name   string // that the switch calls the port; known, or told instead of the number
}

// Outlet returns where a device is connected: the zero Outlet when that is not
// known.
func (p *Ports) Outlet(r state.Reader, mac ethernet.MAC) (o Outlet, err error) {
	l, err := linkOf(r, mac)
	if err != nil || l.IsZero() {
		return o, err
	}
	named, err := p.PortNames(r, l.Switch)
	if err != nil {
		return o, err
	}
	o.Number, o.Name = l.Number, named[l.Number]
	o.Switch, err = p.name(r, l.Switch)
	return o, err
}

// ErrNotAllowed says that a value is not one of those that a setting may have.
var ErrNotAllowed = errors.New("not allowed")

// SwitchSettings are those of switches, in the order in which they are shown and
// made.
func SwitchSettings() []Setting[Switch] {
	return []Setting[Switch]{
		{
			Key: "address", Allowed: "a host, or host:port, of its SNMP agent",
			Get: func(sw *Switch) string { return sw.Address },
			Set: func(sw *Switch, v string) (err error) {
				sw.Address, err = snmp.ParseAddress(v)
				return err
			},
		},
		{
			Key: "snmp.version", Allowed: "1, 2, 3",
			Get: func(sw *Switch) string { return numberOf(int(sw.Version)) },
			Set: func(sw *Switch, v string) (err error) {
				sw.Version, err = snmp.ParseVersion(v)
				return err
			},
		},
		text("snmp.community", true, func(sw *Switch) *string { return &sw.Community }),
		text("snmp.user", false, func(sw *Switch) *string { return &sw.User }),
		{
			Key: "snmp.auth-protocol", Allowed: "none, or a protocol of SNMP version 3 such as SHA",
			Get: func(sw *Switch) string { return string(sw.AuthProtocol) },
			Set: func(sw *Switch, v string) (err error) {
				if v == "none" {
					sw.AuthProtocol, sw.AuthPassword = "", ""
					return nil
				}
				sw.AuthProtocol, err = snmp.ParseAuthProtocol(v)
				return err
			},
		},
		text("snmp.auth-password", true, func(sw *Switch) *string { return &sw.AuthPassword }),
		{
			Key: "snmp.priv-protocol", Allowed: "none, or a protocol of SNMP version 3 such as AES",
			Get: func(sw *Switch) string { return string(sw.PrivProtocol) },
			Set: func(sw *Switch, v string) (err error) {
				if v == "none" {
					sw.PrivProtocol, sw.PrivPassword = "", ""
					return nil
				}
				sw.PrivProtocol, err = snmp.ParsePrivProtocol(v)
				return err
			},
		},
		text("snmp.priv-password", true, func(sw *Switch) *string { return &sw.PrivPassword }),
		toggle("lldp.explore", func(sw *Switch) *bool { return &sw.Explore }),
		toggle("poe.reboots", func(sw *Switch) *bool { return &sw.PoE }),
		{
			Key: "poe.ports", Allowed: "auto, or outlets of ports as 29:2.1 (see: help show power)",
			Get: func(sw *Switch) string { return cmp.Or(string(sw.PoEPorts), "auto") },
			Set: func(sw *Switch, v string) (err error) {
				if sw.PoEPorts = ""; v != "auto" {
					sw.PoEPorts, err = snmp.ParsePoEPorts(v)
				}
				return err
			},
		},
	}
}

// OutletSettings are those of all devices that can be connected to a port.
func OutletSettings() []Setting[Outlet] {
	return []Setting[Outlet]{
		{
			Key: "switch", Allowed: "the name of a switch, or none",
			Get: func(o *Outlet) string { return cmp.Or(o.Switch, "none") },
			Set: func(o *Outlet, v string) error { o.Switch = strings.ToLower(v); return nil },
		},
		{
			Key: "port", Allowed: "the number of a port, or its name, as in Gi1/0/3",
			Get:  func(o *Outlet) string { return numberOf(o.Number) },
			Note: func(o *Outlet) string { return o.Name },
			Set: func(o *Outlet, v string) error {
				n, err := strconv.Atoi(v)
				switch {
				case err == nil && n >= 1 && n <= 1<<16:
					o.Number, o.Name = n, ""
				case err == nil || v == "" || len(v) > 80 || strings.Trim(v, "+-0123456789.,") == "":
					return ErrNotAllowed
				default:
					o.Number, o.Name = 0, v
				}
				return nil
			},
		},
	}
}

// text is a setting that is any text.
func text(key string, secret bool, field func(*Switch) *string) Setting[Switch] {
	return Setting[Switch]{
		Key: key, Allowed: "1 to 127 characters", Secret: secret,
		Get: func(sw *Switch) string { return *field(sw) },
		Set: func(sw *Switch, v string) error {
			if v == "" || len(v) > 127 {
				return ErrNotAllowed
			}
			*field(sw) = v
			return nil
		},
	}
}

// toggle is a setting that is true or false.
func toggle(key string, field func(*Switch) *bool) Setting[Switch] {
	return Setting[Switch]{
		Key: key, Allowed: "true, false",
		Get: func(sw *Switch) string { return strconv.FormatBool(*field(sw)) },
		Set: func(sw *Switch, v string) error {
			if *field(sw) = v == "true"; v != "true" && v != "false" {
				return ErrNotAllowed
			}
			return nil
		},
	}
}

func numberOf(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
