package nodes

import (
	"errors"
	"testing"

	"walt/power"
)

func TestSettingsOfMachines(t *testing.T) {
	for _, c := range []struct {
		key  string
		good map[string]string // how each value is shown
		bad  []string
	}{
		{"boot.root", map[string]string{"auto": "auto", "nfs": "nfs", "ram": "ram"}, []string{"", "RAM", "disk", "nfs "}},
		{"boot.rescue", map[string]string{"on": "on", "off": "off"}, []string{"", "yes", "On", "1"}},
		{"ram.overlay", map[string]string{"60%": "60%", "1%": "1%", "90%": "90%", "512m": "512M", "2G": "2G"}, []string{"", "%", "0%", "91%", "100%", "5", "0M", "60%%", "1.5G", "60 %", "-1%", "1%M"}},
	} {
		for _, s := range virtualSettings {
			if s.Key != c.key {
				continue
			}
			var is Settings
			for value, want := range c.good {
				if err := s.Set(&is, value); err != nil || s.Get(&is) != want {
					t.Errorf("%s=%s: %s, %v", c.key, value, s.Get(&is), err)
				}
			}
			for _, value := range c.bad {
				if err := s.Set(&is, value); !errors.Is(err, power.ErrNotAllowed) {
					t.Errorf("%s=%s: %v", c.key, value, err)
				}
			}
		}
	}
}

// What a node may load depends on whether it runs on the server.
func TestLoaderSetting(t *testing.T) {
	for host, c := range map[HostKind]struct{ good, bad []string }{
		QEMU:     {[]string{"auto", "direct", "pxe"}, []string{"", "PXE", "ipxe", "signed", "direct "}},
		Physical: {[]string{"auto", "ipxe", "signed"}, []string{"", "IPXE", "direct", "pxe", "signed "}},
	} {
		is := newSubject(Device{Kind: Node, Host: host})
		for _, value := range c.good {
			if err := loaderSetting.Set(is, value); err != nil || loaderSetting.Get(is) != value {
				t.Errorf("%s: %s: %s, %v", host, value, loaderSetting.Get(is), err)
			}
		}
		for _, value := range c.bad {
			if err := loaderSetting.Set(is, value); !errors.Is(err, power.ErrNotAllowed) {
				t.Errorf("%s: %s: %v", host, value, err)
			}
		}
	}
}

func TestMebibytes(t *testing.T) {
	for text, want := range map[string]int{
		"512M": 512, "2G": 2048, "2g": 2048, "1m": 1, "1024G": 1 << 20, "1048576M": 1 << 20,
		"": 0, "M": 0, "512": 0, "1GM": 0, "1MM": 0, "2GB": 0, "0G": 0, "-1G": 0, "1.5G": 0, "1 G": 0, "1025G": 0, "1048577M": 0, "9999999999999999999G": 0,
	} {
		got, err := mebibytes(text)
		if (err == nil) != (want > 0) || want > 0 && got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
