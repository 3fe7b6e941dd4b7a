package sshd

import (
	"strings"
	"testing"
)

func TestZoneCalled(t *testing.T) {
	t.Parallel()
	for tz, want := range map[string]string{
		"Europe/Paris": "Europe/Paris", ":Asia/Kathmandu": "Asia/Kathmandu", "": "UTC", "UTC": "UTC", "EST5EDT": "EST5EDT", "Etc/GMT+3": "Etc/GMT+3",
		"America/Argentina/Buenos_Aires": "America/Argentina/Buenos_Aires",
		"Local":                          "", "CET-1CEST,M3.5.0,M10.5.0/3": "", "../../etc/passwd": "", "/etc/localtime": "", "Europe/../Europe/Paris": "",
		"Europe/Atlantis": "", "Europe": "", "a\x00b": "", strings.Repeat("a", 1000): "",
	} {
		got := ""
		if zone := zoneCalled(tz); zone != nil {
			got = zone.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", tz, got, want)
		}
	}
}
