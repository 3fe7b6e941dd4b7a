package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walt/config"
	"walt/fault"
	"walt/power/driver/pdu"
	"walt/power/driver/web"
	"walt/power/snmp"
)

// secrets makes the files that the drivers of these tests name.
func secrets(t *testing.T) (dir string) {
	t.Helper()
	dir = folder(t)
	for name, text := range map[string]string{"community": "lab rw\n", "auth": "authpass1\n", "priv": "privpass1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loadDriver(t *testing.T, text string) config.Driver {
	t.Helper()
	c, err := config.Load(write(t, secrets(t), "[[power.driver]]\nname = \"rack1\"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return c.Power.Drivers[0]
}

func TestPDUs(t *testing.T) {
	t.Parallel()
	apc, err := pdu.ParseProfile("apc")
	if err != nil {
		t.Fatal(err)
	}
	two := 2
	known := apc
	known.StatusOn, known.Off = &two, 0
	for text, want := range map[string]struct {
		access  snmp.Switch
		profile pdu.Profile
	}{
		`host = "10.9.0.2"
profile = "apc"`: {snmp.Switch{Name: "rack1", Address: "10.9.0.2", Version: snmp.V1, Community: "private"}, apc},
		`profile = "apc"
version = 2
community_file = "community"
status_on = 2
off = 0`: {snmp.Switch{Name: "rack1", Version: snmp.V2, Community: "lab rw"}, known},
		`host = "[fd00::2]:1161"
oid = "1.3.6.1.4.1.9.{port}.1"
on = 7
off = 8
version = 3
user = "walt"
auth_protocol = "sha256"
password_file = "auth"
priv_protocol = "aes"
priv_password_file = "priv"`: {snmp.Switch{
			Name: "rack1", Address: "[fd00::2]:1161", Version: snmp.V3, Community: "private", User: "walt",
			AuthProtocol: snmp.SHA256, AuthPassword: "authpass1", PrivProtocol: snmp.AES, PrivPassword: "privpass1",
		}, pdu.Profile{OID: "1.3.6.1.4.1.9.{port}.1", On: 7, Off: 8}},
	} {
		d := loadDriver(t, "kind = \"snmp\"\n"+text)
		got, wanted := d.PDU, want.profile
		if d.SNMP != want.access || !same(got.StatusOn, wanted.StatusOn) {
			t.Errorf("%s\nis %#v, status_on %v", text, d.SNMP, got.StatusOn)
		}
		got.StatusOn, got.StatusOff, wanted.StatusOn, wanted.StatusOff = nil, nil, nil, nil
		if got != wanted {
			t.Errorf("%s\nis %+v, not %+v", text, got, wanted)
		}
	}
}

func same(a, b *int) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func TestDevices(t *testing.T) {
	t.Parallel()
	d := loadDriver(t, `kind = "http"
profile = "shelly-gen2"
auth = "digest"
user = "admin"
password_file = "auth"
off = "GET http://{host}/off"
headers = ["X-Lab: 1"]
`).HTTP
	want, err := web.ParseProfile("shelly-gen2")
	if err != nil {
		t.Fatal(err)
	}
	if d.On != want.On || d.Off != "GET http://{host}/off" || d.IsOff != want.IsOff || len(d.Headers) != 1 || d.Auth != web.Digest || d.Password != "authpass1" || !d.Hosted() {
		t.Errorf("it is %+v", d)
	}
	own := loadDriver(t, `kind = "http"
host = "10.9.2.4"
on = "POST http://{host}/rpc/Switch.Set {\"id\":0,\"on\":true}"
off = "POST http://{host}/rpc/Switch.Set {\"id\":0,\"on\":false}"
`).HTTP
	if own.Hosted() || own.Ported() == d.Ported() || own.On != `POST http://{host}/rpc/Switch.Set {"id":0,"on":true}` {
		t.Errorf("it is %+v", own)
	}
}

func TestDriverProblems(t *testing.T) {
	t.Parallel()
	const pdu, plugs = "kind = \"snmp\"\n", "kind = \"http\"\n"
	const v3, privPassword = "profile = \"apc\"\nversion = 3\nuser = \"walt\"\n", "priv_password_file = \"priv\""
	for text, says := range map[string]string{
		pdu:                                   `:1: power.driver.oid: is missing`,
		pdu + "profile = \"acme\"":            `:4: power.driver.profile: "acme" is no profile; there are: apc`,
		pdu + "profile = \"apc\"\non = \"1\"": `:5: power.driver.on: "1" is no number`,
		pdu + "profile = \"apc\"\noid = \"ifDescr\"":                     `:5: power.driver.oid: "ifDescr" is no OID`,
		pdu + "profile = \"apc\"\noff = 1":                               `:3: power.driver.kind: on and off are both 1`,
		pdu + "profile = \"apc\"\nhost = \"a b\"":                        `:5: power.driver.host: "a b" is not the address`,
		pdu + "profile = \"apc\"\nversion = 4":                           `:5: power.driver.version: 4 is no version of SNMP; want 1, 2 or 3`,
		pdu + "oid = \"1.3.6.1\"\non = 1":                                `:1: power.driver.off: is missing; want the number that switches an outlet off`,
		pdu + "profile = \"apc\"\ncommunity_file = \".\"":                `:5: power.driver.community_file: DIR is a directory; want the file`,
		pdu + "profile = \"apc\"\nversion = 3":                           `power.driver.user: "" is no user of SNMP; version 3 wants one`,
		pdu + v3 + "auth_protocol = \"sha\"":                             `power.driver.password_file: is missing; auth_protocol needs it`,
		pdu + v3 + "password_file = \"auth\"":                            `power.driver.auth_protocol: is missing; password_file is for it`,
		pdu + v3 + "priv_password_file = \"priv\"":                       `power.driver.priv_protocol: is missing; priv_password_file is for it`,
		pdu + v3 + "priv_protocol = \"aes\"\n" + privPassword:            `power.driver.auth_protocol: is missing; priv_protocol needs it`,
		pdu + "profile = \"apc\"\nuser = \"walt\"":                       `power.driver.version: 1 has no users; want 3`,
		pdu + v3 + "community_file = \"community\"":                      `:7: power.driver.community_file: version 3 has no communities`,
		pdu + v3 + "auth_protocol = \"rot13\"\npassword_file = \"auth\"": `:7: power.driver.auth_protocol: unknown authentication protocol "rot13"; allowed are MD5`,
		pdu + "profile = \"apc\"\ncommunity_file = \"open\"":             `:5: power.driver.community_file: others can read DIR/open`,
		pdu + "profile = \"apc\"\nauth = \"basic\"":                      `:5: power.driver.auth: drivers of kind snmp have none`,
		plugs:                                  `:1: power.driver.on: "" is no request; want METHOD URL`,
		plugs + "profile = \"acme\"":           `:4: power.driver.profile: "acme" is no profile; there are: dli`,
		plugs + "profile = \"shelly\"\non = 1": `:5: power.driver.on: 1 is no request`,
		plugs + "profile = \"shelly\"\nstatus = \"GET /\"":                         `:5: power.driver.status: "GET /" is no request`,
		plugs + "profile = \"shelly\"\nis_on = \"(\"":                              `:5: power.driver.is_on: "(" is no regular expression`,
		plugs + "profile = \"shelly\"\nauth = \"ntlm\"":                            `:5: power.driver.auth: "ntlm" is none of`,
		plugs + "profile = \"shelly\"\nauth = \"basic\"":                           `power.driver.kind: auth = "basic" needs password_file`,
		plugs + "profile = \"shelly\"\nuser = \"walt\"\npassword_file = \"auth\"":  `power.driver.kind: the password is sent nowhere; set auth to basic, digest or bearer`,
		plugs + "profile = \"shelly\"\npassword_file = \"open\"":                   `:5: power.driver.password_file: others can read DIR/open`,
		plugs + "profile = \"shelly\"\ntls_fingerprint = \"ab\"":                   `:5: power.driver.tls_fingerprint: "ab" is no fingerprint`,
		plugs + "profile = \"shelly\"\nca_file = \"open\"":                         `:5: power.driver.ca_file: DIR/open holds no certificate`,
		plugs + "profile = \"shelly\"\noid = \"1.3\"":                              `:5: power.driver.oid: drivers of kind http have none`,
		plugs + "profile = \"shelly\"\nstatus_on = 0":                              `:5: power.driver.status_on: drivers of kind http have none`,
		plugs + "profile = \"shelly\"\nheaders = [\"Host: x\"]":                    `:5: power.driver.headers: Host is set by the server`,
		plugs + "on = \"GET http://x/1\"\noff = \"GET http://x/0\"\nis_on = \"1\"": `is_on and is_off are about the answer to status, which is missing`,
	} {
		dir := secrets(t)
		path := write(t, dir, "[[power.driver]]\nname = \"rack1\"\n"+text)
		_, err := config.Load(path)
		f := fault.As(err)
		if says := strings.ReplaceAll(says, "DIR", dir); f == nil || !strings.Contains(f.Msg, says) {
			t.Errorf("%s\n got %v\nwant %s", text, err, says)
		}
	}
}

func TestBMCs(t *testing.T) {
	t.Parallel()
	d := loadDriver(t, "kind = \"ipmi\"\nuser = \"walt\"\npassword_file = \"auth\"")
	if d.IPMI.User != "walt" || d.IPMI.Password != "authpass1" {
		t.Errorf("IPMI is %+v", d.IPMI)
	}
	d = loadDriver(t, "kind = \"redfish\"\nuser = \"walt\"\npassword_file = \"auth\"\nsystem = \"1\"\ntls_fingerprint = \""+strings.Repeat("ab", 32)+"\"")
	if b := d.Redfish; b.Name != "rack1" || b.User != "walt" || b.Password != "authpass1" || b.System != "1" || b.TLS.VerifyConnection == nil {
		t.Errorf("Redfish is %+v", b)
	}
	for text, says := range map[string]string{
		"kind = \"ipmi\"": ":1: power.driver.user: is missing; want that of the BMCs",
		"kind = \"ipmi\"\nuser = \"" + strings.Repeat("u", 17) + "\"":      ":4: power.driver.user: has 17 bytes; a BMC has room for 16",
		"kind = \"ipmi\"\nuser = \"walt\"\nhost = \"10.9.1.7\"":            ":5: power.driver.host: drivers of kind ipmi have none; they have user, password_file",
		"kind = \"redfish\"\nuser = \"walt\"\ntls_fingerprint = \"ab:cd\"": ":5: power.driver.tls_fingerprint: \"ab:cd\" is no fingerprint",
	} {
		_, err := config.Load(write(t, secrets(t), "[[power.driver]]\nname = \"rack1\"\n"+text))
		if err == nil || !strings.Contains(fault.Line(err), says) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, says)
		}
	}
}
