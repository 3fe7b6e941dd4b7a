package main

import (
	"os"
	"regexp"
	"testing"

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
