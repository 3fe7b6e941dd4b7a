package config

import (
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/power/driver"
	"walt/power/driver/ipmi"
	"walt/power/driver/pdu"
	"walt/power/driver/program"
	"walt/power/driver/redfish"
	"walt/power/driver/web"
	"walt/power/snmp"
)

// Driver switches outlets that are no ports of switches.
type Driver struct {
	Name    string   `toml:"name"`    // as in the setting power of nodes, unique
	Kind    string   `toml:"kind"`    // of its devices
	Timeout Duration `toml:"timeout"` // of one request; 0 is 10 s
	// Of kind command:
	Program []string `toml:"program"` // the program, and what its arguments begin with
	// Of several kinds:
	Host         string `toml:"host"`          // HOST or HOST:PORT of the device; "" where outlets name it
	Profile      string `toml:"profile"`       // what the device is, for keys that are not set
	User         string `toml:"user"`          // that the device lets in
	PasswordFile string `toml:"password_file"` // its password
	On           any    `toml:"on"`            // kind snmp: a number to write; http: a request
	Off          any    `toml:"off"`           // the same
	// Of kind snmp, where on and off are written to the OID of the outlet:
	Version          int    `toml:"version"`            // of SNMP; 0 is 1
	CommunityFile    string `toml:"community_file"`     // of versions 1 and 2; "" for the community "private"
	AuthProtocol     string `toml:"auth_protocol"`      // of version 3, with password_file
	PrivProtocol     string `toml:"priv_protocol"`      // of version 3, with priv_password_file
	PrivPasswordFile string `toml:"priv_password_file"` // the password to encrypt with
	OID              string `toml:"oid"`
	OffOID           string `toml:"off_oid"`
	StatusOID        string `toml:"status_oid"`
	StatusOn         *int   `toml:"status_on"`
	StatusOff        *int   `toml:"status_off"`
	// Of kind http:
	Status  string   `toml:"status"` // a request
	IsOn    string   `toml:"is_on"`  // regular expressions for the answer
	IsOff   string   `toml:"is_off"`
	Headers []string `toml:"headers"` // NAME: VALUE
	Auth    string   `toml:"auth"`    // basic, digest or bearer
	// Of kinds http and redfish:
	CAFile      string `toml:"ca_file"`         // who signed the certificate of the device
	Fingerprint string `toml:"tls_fingerprint"` // of that certificate, in place of ca_file
	// Of kind redfish:
	System string `toml:"system"` // the name that BMCs have for what they switch; "" for the only one

	// What they say, of the one kind or the other.
	SNMP    snmp.Switch  `toml:"-"`
	PDU     pdu.Profile  `toml:"-"`
	HTTP    web.Settings `toml:"-"`
	IPMI    ipmi.BMCs    `toml:"-"`
	Redfish redfish.BMCs `toml:"-"`
}

// Declared is the driver without its means.
func (d *Driver) Declared() driver.Driver {
	one := driver.Driver{Name: d.Name, Timeout: d.Timeout.Duration, Numbered: d.Kind != "command"}
	usual := "" // port that devices listen on
	switch d.Kind {
	case "command":
		one.Realm = "command " + strings.Join(d.Program, "\x00")
	case "http":
		one.Hosted, one.Ported = d.HTTP.Hosted(), d.HTTP.Ported()
		one.Realm, usual = "http "+d.HTTP.On, "80"
	case "ipmi":
		one.Hosted, one.Ported, one.Usual = true, driver.May, "623"
		one.Realm = "BMC " + d.System
	case "redfish":
		one.Hosted, one.Ported, one.Usual = true, driver.May, "443"
		one.Realm = "BMC " + d.System
	case "snmp":
		one.Hosted = d.Host == ""
		one.Realm, usual = "snmp "+d.PDU.OID, "161"
	}
	host, port, err := net.SplitHostPort(d.Host)
	switch {
	case err != nil: // it has no port
		one.Host = driver.Host(strings.Trim(d.Host, "[]"))
	case port == usual:
		one.Host = driver.Host(host)
	default:
		one.Host = net.JoinHostPort(driver.Host(host), port)
	}
	return one
}

// Declared is the drivers without their means, for what they say of outlets, and those that feed
// the server.
func (p *Power) Declared(own driver.Supply) *driver.Drivers {
	drivers, all := driver.New(), make([]driver.Driver, len(p.Drivers))
	for i := range p.Drivers {
		all[i] = p.Drivers[i].Declared()
	}
	_ = drivers.Set(all, own) // there were none before that could fail to close
	return drivers
}

// driverKeys are those that drivers of each kind have besides name, kind and timeout.
var driverKeys = map[string][]string{
	"command": {"program"},
	"http":    {"host", "profile", "on", "off", "status", "is_on", "is_off", "headers", "auth", "user", "password_file", "ca_file", "tls_fingerprint"},
	"ipmi":    {"user", "password_file"},
	"redfish": {"user", "password_file", "system", "ca_file", "tls_fingerprint"},
	"snmp":    {"host", "profile", "oid", "on", "off", "off_oid", "status_oid", "status_on", "status_off", "version", "community_file", "user", "auth_protocol", "password_file", "priv_protocol", "priv_password_file"},
}

// power checks what is about switching nodes off, and how.
func (k *checker) power(p *Power) {
	k.duration("power.idle", p.Idle, 0)
	for i := range p.Drivers {
		k.driver(fmt.Sprintf("power.driver[%d].", i), &p.Drivers[i], p.Drivers[:i])
	}
	if p.Server == "" {
		return
	}
	var err error
	if p.Own, err = driver.ParseSupply(p.Server); err != nil {
		k.wrong("power.server", "%s", fault.Reason(err))
	}
	drivers := p.Declared(nil)
	for _, o := range p.Own {
		if !slices.ContainsFunc(p.Drivers, func(d Driver) bool { return d.Name == o.Driver }) {
			k.wrong("power.server", "%s is of no driver here; declare %s as [[power.driver]]", o, o.Driver)
		} else if err := drivers.Check(driver.Supply{o}); err != nil {
			k.wrong("power.server", "%s", fault.Line(err))
		}
	}
}

func (k *checker) driver(key string, d *Driver, before []Driver) {
	switch {
	case d.Name == "":
		k.wrong(key+"name", "is missing; want one that nodes can tell, as in rack1")
	case !driver.IsName(d.Name):
		k.wrong(key+"name", "%q is not a name; want a lower-case letter, then lower-case letters, digits or -, 1 to 32 in all", d.Name)
	case driver.IsReserved(d.Name):
		k.wrong(key+"name", "%q means something else; choose another name", d.Name)
	case slices.ContainsFunc(before, func(b Driver) bool { return b.Name == d.Name }):
		k.wrong(key+"name", "%q is the name of another driver too; names must differ", d.Name)
	}
	if d.Timeout != (Duration{}) {
		k.duration(key+"timeout", d.Timeout, time.Second)
	}
	keys, known := driverKeys[d.Kind]
	if !known {
		what := "is missing"
		if d.Kind != "" {
			what = fmt.Sprintf("%q is no kind of driver", d.Kind)
		}
		k.wrong(key+"kind", "%s; want one of %s", what, strings.Join(slices.Sorted(maps.Keys(driverKeys)), ", "))
		return
	}
	sound := len(k.problems)
	k.others(key, d, keys)
	switch d.Kind {
	case "command":
		k.program(key+"program", d.Program)
	case "snmp":
		k.pdus(key, d)
	case "http":
		k.devices(key, d)
	case "ipmi":
		k.bmcs(key, d)
	case "redfish":
		k.redfish(key, d)
	}
	if len(k.problems) > sound {
		return
	}
	for i := range before {
		a, b := d.Declared(), before[i].Declared()
		if !a.Hosted && !b.Hosted && a.Realm == b.Realm && a.Host == b.Host {
			k.wrong(key+"name", "%q leads to the same outlets as %q; declare one driver for them", a.Name, b.Name)
		}
	}
}

// others tells of the keys of a driver that those of its kind do not have.
func (k *checker) others(key string, d *Driver, keys []string) {
	v := reflect.ValueOf(*d)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("toml")
		if name == "-" || slices.Contains([]string{"name", "kind", "timeout"}, name) || slices.Contains(keys, name) || v.Field(i).IsZero() {
			continue
		}
		k.wrong(key+name, "drivers of kind %s have none; they have %s", d.Kind, strings.Join(keys, ", "))
	}
}

func (k *checker) program(key string, words []string) {
	if len(words) == 0 {
		k.wrong(key, `is missing; want a list, as in ["/usr/local/libexec/usbpower"]`)
		return
	}
	if err := program.Check(words[0]); err != nil {
		k.wrong(key, "%v", err)
	}
}
