package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"walt/config"

	"walt/fault"
	"walt/power/driver"
	"walt/power/driver/pdu"
	"walt/power/driver/web"
)

// TestProfilesAreTold finds all profiles of drivers in the topic that users choose them from.
func TestProfilesAreTold(t *testing.T) {
	t.Parallel()
	topic, err := os.ReadFile("commands/topics/power.md")
	if err != nil {
		t.Fatal(err)
	}
	pdus, err := pdu.Profiles()
	if err != nil {
		t.Fatal(err)
	}
	devices, err := web.Profiles()
	if err != nil {
		t.Fatal(err)
	}
	told := func(name string) {
		if !regexp.MustCompile(`(?m)(^|[ ,])` + name + `($|[ ,])`).Match(topic) {
			t.Errorf("topic power does not tell of the profile %s", name)
		}
	}
	for name := range pdus {
		told(name)
	}
	for name := range devices {
		told(name)
	}
}

// TestExamplesOfDrivers reads each example of the topic as the server does.
func TestExamplesOfDrivers(t *testing.T) {
	t.Parallel()
	topic, err := os.ReadFile("commands/topics/power.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, text := range regexp.MustCompile(`(?m)^\S.*\n`).Split(string(topic), -1) { // what is indented
		text = strings.ReplaceAll("\n"+strings.Trim(text, "\n"), "\n    ", "\n")[1:]
		text, _, _ = strings.Cut(text, "\n\ndevice config") // which follows in one place
		switch {                                            // what is told beside the rest
		case strings.HasPrefix(text, "oid = "):
			text = "[[power.driver]]\nname = \"other\"\nkind = \"snmp\"\n" + text
		case strings.HasPrefix(text, "on = "):
			text = "[[power.driver]]\nname = \"other\"\nkind = \"http\"\npassword_file = \"plugs.txt\"\n" + text
		case !strings.HasPrefix(text, "[[power.driver]]"):
			continue
		}
		dir := t.TempDir()
		for _, secret := range []string{"rack1.txt", "plugs.txt", "bmc.txt"} {
			if err := os.WriteFile(filepath.Join(dir, secret), []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(dir, "walt.toml")
		text = strings.ReplaceAll(text, "/usr/local/libexec/usbpower", "/bin/true")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		all, err := driversOf(c.Power)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		for i, d := range all {
			kinds[c.Power.Drivers[i].Kind]++
			if err := d.Means.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if want := map[string]int{"command": 1, "snmp": 2, "http": 2, "ipmi": 1}; !maps.Equal(kinds, want) {
		t.Errorf("of each kind there are %v examples, want %v", kinds, want)
	}
}

// TestPortsOfKinds refuses the ports that no device of a kind has.
func TestPortsOfKinds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "walt.toml")
	const file = `
[[power.driver]]
name = "rack1"
kind = "snmp"
host = "10.9.0.2"
profile = "apc"

[[power.driver]]
name = "plugs"
kind = "http"
profile = "esphome"

[[power.driver]]
name = "bmc"
kind = "ipmi"
user = "walt"

[[power.driver]]
name = "redfish"
kind = "redfish"
user = "walt"

[[power.driver]]
name = "usb"
kind = "command"
program = ["/bin/true"]
`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	made, err := driversOf(c.Power)
	if err != nil {
		t.Fatal(err)
	}
	drivers := driver.New()
	if err := drivers.Set(made, nil); err != nil {
		t.Fatal(err)
	}
	for outlet, want := range map[string]string{
		"rack1:7": "", "rack1:1.1.4": "", "rack1:x": `a PDU has no outlet "x"`, "rack1:7a": `a PDU has no outlet "7a"`,
		"plugs@10.9.2.4:lamp": "", "usb:1-1.2:3": "",
		"bmc@10.9.1.7": "", "bmc@10.9.1.7:6230": "", "bmc@10.9.1.7:x": `a BMC has no port "x"`,
		"bmc@10.9.1.7:6230:1": `a BMC has no port "6230:1"`, "bmc@10.9.1.7:0": `a BMC has no port "0"`,
		"redfish@10.9.1.7:8443": "", "redfish@10.9.1.7:65536": `a BMC has no port "65536"`,
		"redfish@fd00:1:2:3:4:5:6:7": `a BMC has no port`,
	} {
		all, err := driver.ParseSupply(outlet)
		if err != nil {
			t.Fatal(err)
		}
		err = drivers.Check(all)
		if got := fault.As(err); (got == nil) != (want == "") || got != nil && !strings.HasPrefix(got.Msg, want) {
			t.Errorf("%s: %v, want %q", outlet, err, want)
		}
	}
	if err := drivers.Set(nil, nil); err != nil {
		t.Error(err)
	}
}
