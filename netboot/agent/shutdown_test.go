//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

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

// runit is in its last stage when it runs the program of it, and nobody else does.
func TestInStage3(t *testing.T) {
	for name, c := range map[string]struct {
		arguments, stat string
		want            bool
	}{
		"its script":           {"/bin/sh\x00/etc/runit/3\x00", "7 (3) S 1 7 7 0", true},
		"its program":          {"/etc/runit/3\x00", "7 (3) R 1 7 7 0", true},
		"the stage before":     {"/bin/sh\x00/etc/runit/2\x00", "7 (2) S 1 7 7 0", false},
		"somebody who tries":   {"sh\x00/etc/runit/3\x00", "7 (a ) S 1 b) S 70 7 7 0", false},
		"somebody who edits":   {"vi\x00/etc/runit/3\x00", "7 (vi) S 9 7 7 0", false},
		"a kernel's thread":    {"", "7 (kthreadd) S 1 0 0 0", false},
		"one that ended since": {"/etc/runit/3\x00", "", false},
	} {
		proc := t.TempDir()
		for file, text := range map[string]string{"7/cmdline": c.arguments, "7/stat": c.stat, "uptime": "1 1"} {
			full := filepath.Join(proc, file)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := inStage3(proc); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
