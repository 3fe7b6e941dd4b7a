package pdu

import (
	_ "embed"
	"regexp"
	"strings"

	"walt/fault"
	"walt/power/driver"
	"walt/power/snmp"
)

// Profile is how devices are told to switch an outlet, and how they tell its state. In an
// OID {port} stands for the outlet, which follows an OID without.
type Profile struct {
	Devices   string `toml:"devices"` // what it fits, for people
	OID       string `toml:"oid"`     // is set to On and Off
	On        int    `toml:"on"`
	Off       int    `toml:"off"`
	OffOID    string `toml:"off_oid"`    // is set to Off, OID if empty
	StatusOID string `toml:"status_oid"` // is read, OID if empty
	StatusOn  *int   `toml:"status_on"`  // how it reads: On if nil
	StatusOff *int   `toml:"status_off"` // Off if nil
}

//go:embed profiles.toml
var profiles []byte

// Profiles are those that the server knows, by name.
func Profiles() (map[string]Profile, error) { return driver.Profiles[Profile](profiles) }

// ParseProfile returns one that the server knows; a fault names them all.
func ParseProfile(name string) (Profile, error) { return driver.ParseProfile[Profile](profiles, name) }

// stands stands for the outlet in an OID.
const stands = "{port}"

var (
	oidForm  = regexp.MustCompile(`^\.?\d{1,10}(\.(\d{1,10}|\{port\}))+$`)
	portForm = regexp.MustCompile(`^\d{1,9}(\.\d{1,9}){0,7}$`)
)

// check returns a fault that says which key is wrong.
func (p Profile) check() error {
	for _, oid := range []struct{ key, value string }{{"oid", p.OID}, {"off_oid", p.OffOID}, {"status_oid", p.StatusOID}} {
		if oid.value != "" && (!oidForm.MatchString(oid.value) || strings.Count(oid.value, stands) > 1) {
			return fault.Failedf("%s: %q is no OID; want numbers with dots between, and {port} where the outlet is not the last of them", oid.key, oid.value)
		}
	}
	switch on, off := p.reads(); {
	case p.OID == "":
		return fault.Failedf("oid: is missing; set it, with on and off, or a profile")
	case p.On == p.Off && (p.OffOID == "" || p.OffOID == p.OID):
		return fault.Failedf("on and off are both %d: they must differ", p.On)
	case on == off:
		return fault.Failedf("status_on and status_off are both %d: they must differ", on)
	}
	return nil
}

// reads is how the state reads of an outlet that is on, and of one that is off.
func (p Profile) reads() (on, off int) {
	on, off = p.On, p.Off
	if p.StatusOn != nil {
		on = *p.StatusOn
	}
	if p.StatusOff != nil {
		off = *p.StatusOff
	}
	return on, off
}

// object is that of an outlet at an OID, or at the other one if there is none.
func object(oid, other, port string) snmp.Object {
	if oid == "" {
		oid = other
	}
	if strings.Contains(oid, stands) {
		oid = strings.ReplaceAll(oid, stands, port)
	} else {
		oid += "." + port
	}
	return snmp.Object{OID: oid, Words: "outlet " + port}
}
