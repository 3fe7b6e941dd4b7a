package snmp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"walt/fault"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parse    func(string) (any, error)
		in       string
		want     any
		complain string
	}{
		{parseVersion, "1", V1, ""},
		{parseVersion, "2", V2, ""},
		{parseVersion, "3", V3, ""},
		{parseVersion, "", nil, "allowed are 1, 2 and 3"},
		{parseVersion, "4", nil, "allowed are 1, 2 and 3"},
		{parseVersion, "02", nil, "allowed are 1, 2 and 3"},
		{parseAuth, "SHA-256", SHA256, ""},
		{parseAuth, "sha256", SHA256, ""},
		{parseAuth, "md5", MD5, ""},
		{parseAuth, "AES", nil, "allowed are MD5, SHA, SHA-224, SHA-256, SHA-384 and SHA-512"},
		{parsePriv, "aes", AES, ""},
		{parsePriv, "AES-256", AES256, ""},
		{parsePriv, "aes256c", AES256C, ""},
		{parsePriv, "", nil, "allowed are DES, AES, AES-192, AES-256, AES-192-C and AES-256-C"},
		{parseAddress, "10.0.0.2", "10.0.0.2:161", ""},
		{parseAddress, "10.0.0.2:1161", "10.0.0.2:1161", ""},
		{parseAddress, "sw-1.lab", "sw-1.lab:161", ""},
		{parseAddress, "fe80::1%eth0", "[fe80::1%eth0]:161", ""},
		{parseAddress, "[fd00::2]:1161", "[fd00::2]:1161", ""},
		{parseAddress, "[fd00::2]", "[fd00::2]:161", ""},
		{parseAddress, "", nil, "10.0.0.2:161"},
		{parseAddress, "10.0.0.2:0", nil, "10.0.0.2:161"},
		{parseAddress, "10.0.0.2:99999", nil, "10.0.0.2:161"},
		{parseAddress, "10.0.0.2:snmp", nil, "10.0.0.2:161"},
		{parseAddress, ":161", nil, "10.0.0.2:161"},
		{parseAddress, "udp://10.0.0.2", nil, "10.0.0.2:161"},
		{parseAddress, "two words", nil, "10.0.0.2:161"},
		{parseAddress, "a:b:c", nil, "10.0.0.2:161"},
	} {
		got, err := c.parse(c.in)
		if c.complain == "" {
			if err != nil || got != c.want {
				t.Errorf("%q: got %v, %v, want %v", c.in, got, err, c.want)
			}
		} else if f := fault.As(err); f == nil || f.Kind != fault.Usage || !strings.Contains(f.Hint, c.complain) {
			t.Errorf("%q: got %v, %#v, want a fault whose hint is %q", c.in, got, err, c.complain)
		}
	}
}

func parseVersion(s string) (any, error) { return ParseVersion(s) }
func parseAuth(s string) (any, error)    { return ParseAuthProtocol(s) }
func parsePriv(s string) (any, error)    { return ParsePrivProtocol(s) }
func parseAddress(s string) (any, error) { return ParseAddress(s) }

func TestOpen(t *testing.T) {
	t.Parallel()
	user := func(adjust func(*Switch)) Switch {
		sw := Switch{Address: "10.0.0.2"}
		as("walt", SHA256, AES)(&sw)
		adjust(&sw)
		return sw
	}
	for says, sw := range map[string]Switch{
		"invalid switch address":                      {Version: V2, Community: "private"},
		"needs an SNMP version":                       {Address: "10.0.0.2", Community: "private"},
		"needs an SNMP community":                     {Address: "10.0.0.2", Version: V2},
		"of 1 to 127 characters":                      {Address: "10.0.0.2", Version: V1, Community: strings.Repeat("x", 128)},
		"needs an SNMP user":                          user(func(sw *Switch) { sw.User = "" }),
		"unknown authentication protocol":             user(func(sw *Switch) { sw.AuthProtocol = "rot13" }),
		"unknown privacy protocol":                    user(func(sw *Switch) { sw.PrivProtocol = "rot13" }),
		"authentication protocol and its password":    user(func(sw *Switch) { sw.AuthPassword = "" }),
		"a privacy protocol and its password":         user(func(sw *Switch) { sw.PrivProtocol = "" }),
		"needs an authentication protocol besides it": user(func(sw *Switch) { sw.AuthProtocol, sw.AuthPassword = "", "" }),
	} {
		_, err := Open(sw)
		wantFault(t, err, says)
	}
}

// TestSecrets prints a switch and a session in every way.
func TestSecrets(t *testing.T) {
	t.Parallel()
	sw := Switch{Name: "sw-1", Address: "10.0.0.2", Community: "private"}
	as("walt", SHA256, AES)(&sw)
	s, err := Open(sw)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	for _, v := range []any{sw, &sw, []Switch{sw}, s} {
		fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, v)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("configured", "switch", sw, "session", s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("configured", "switch", sw, "session", s)
	for _, secret := range []string{"private", "authpass1", "privpass1"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is in %s", secret, &out)
		}
	}
	if !strings.Contains(out.String(), "switch sw-1 (10.0.0.2)") {
		t.Errorf("it is not named in %s", &out)
	}

	stored, err := json.Marshal(sw)
	var again Switch
	if err != nil || json.Unmarshal(stored, &again) != nil || again != sw {
		t.Errorf("what comes back of %s is not what was stored", stored)
	}
}
