package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/power/driver"
	"walt/power/driver/program"
)

// Driver switches outlets that are no ports of switches.
type Driver struct {
	Name    string   `toml:"name"`    // as in the setting power of nodes, unique
	Kind    string   `toml:"kind"`    // of its devices
	Timeout Duration `toml:"timeout"` // of one request; 0 is 10 s
	// Of kind command:
	Program []string `toml:"program"` // the program, and what its arguments begin with
}

// driverKeys are those that drivers of each kind have besides name, kind and timeout.
var driverKeys = map[string][]string{
	"command": {"program"},
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
	for _, o := range p.Own {
		if !slices.ContainsFunc(p.Drivers, func(d Driver) bool { return d.Name == o.Driver }) {
			k.wrong("power.server", "%s is of no driver here; declare %s as [[power.driver]]", o, o.Driver)
		}
	}
}

func (k *checker) driver(key string, d *Driver, before []Driver) {
	switch {
	case !driver.IsName(d.Name):
		k.wrong(key+"name", "%q is not a name; want a lower-case letter, then lower-case letters, digits or -, 1 to 32 in all", d.Name)
	case d.Name == "poe" || d.Name == "none" || d.Name == "wol":
		k.wrong(key+"name", "%q means something else; choose another name", d.Name)
	case slices.ContainsFunc(before, func(b Driver) bool { return b.Name == d.Name }):
		k.wrong(key+"name", "%q is the name of another driver too; names must differ", d.Name)
	}
	if d.Timeout != (Duration{}) {
		k.duration(key+"timeout", d.Timeout, time.Second)
	}
	keys, known := driverKeys[d.Kind]
	if !known {
		k.wrong(key+"kind", "%q is no kind of driver; want command", d.Kind)
		return
	}
	k.others(key, d, keys)
	if d.Kind == "command" {
		k.program(key+"program", d.Program)
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
