package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"walt/config"
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
