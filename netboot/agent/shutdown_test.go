//go:build linux

package main

import "testing"

// What the first process of a machine is about to do.
func TestShutdownOf(t *testing.T) {
	for _, c := range []struct{ name, arguments, want string }{
		{"systemd", "/sbin/init\x00", ""},
		{"systemd-shutdow", "/lib/systemd/systemd-shutdown\x00reboot\x00--log-level\x006\x00", "reboot"},
		{"systemd-shutdow", "/lib/systemd/systemd-shutdown\x00poweroff\x00--log-level\x006\x00", "poweroff"},
		{"systemd-shutdow", "/lib/systemd/systemd-shutdown\x00halt\x00", "poweroff"},
		{"init", "init [2]\x00\x00", ""},
		{"init", "init [6]\x00\x00", "reboot"},
		{"init", "init [0]\x00\x00", "poweroff"},
		{"init", "/sbin/init\x00", ""},
	} {
		if got := shutdownOf(c.name, c.arguments); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.arguments, got, c.want)
		}
	}
}
