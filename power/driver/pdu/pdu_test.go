package pdu

import (
	_ "embed"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/power/driver"
	"walt/power/snmp"
)

//go:embed testdata/exchanges.txt
var exchanges string

// exchange is a line of the file of that name.
type exchange struct {
	profile, port string
	on, off       string   // OID=VALUE
	status        string   // OID
	says          []string // on, off, and on its way if it tells
}

func readExchanges(t *testing.T) []exchange {
	t.Helper()
	var all []exchange
	for line := range strings.Lines(exchanges) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) < 10 || f[2] != "on" || f[4] != "off" || f[6] != "says" {
			t.Fatalf("%q is no exchange", line)
		}
		all = append(all, exchange{f[0], f[1], f[3], f[5], f[7], f[8:]})
	}
	return all
}

// TestProfiles has an agent answer as the devices of each profile do: they are switched by
// what is told to them, and their answers are understood.
func TestProfiles(t *testing.T) {
	t.Parallel()
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	left := slices.Collect(maps.Keys(all))
	values := map[string]string{}
	seen := readExchanges(t)
	for _, e := range seen {
		left = slices.DeleteFunc(left, func(name string) bool { return name == e.profile })
		on, is, _ := strings.Cut(e.on, "=")
		off, isnt, _ := strings.Cut(e.off, "=")
		for _, oid := range []string{on, off} {
			values[oid] = "-9"
		}
		values[e.status] = "-9"
		if on == off {
			values[on+".then"] = strings.Join([]string{e.status, is + "=" + e.says[0], isnt + "=" + e.says[1], "0s"}, " ")
			continue
		}
		values[on+".then"] = strings.Join([]string{e.status, is + "=" + e.says[0], "0s"}, " ")
		values[off+".then"] = strings.Join([]string{e.status, isnt + "=" + e.says[1], "0s"}, " ")
	}
	if len(left) > 0 {
		t.Errorf("no exchange with devices of the profiles %v", left)
	}
	// One agent a maker: net-snmp has things of its own below the OID of them all.
	for maker, theirs := range byMaker(seen) {
		t.Run(maker, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, maker, below(values, maker))
			for _, e := range theirs {
				d := open(t, access(a.Address), profile(t, e.profile))
				at := driver.Target{Port: e.port}
				wantState(t, d, at, driver.Unknown)
				for on, state := range map[bool]driver.State{true: driver.On, false: driver.Off} {
					if err := d.Switch(t.Context(), at, on); err != nil {
						t.Fatalf("%s: %v", e.profile, err)
					}
					until(t, e.profile+" shows it", func() bool { is, _ := d.Status(t.Context(), at); return is == state })
				}
				for _, way := range e.says[2:] {
					put(a.values, e.status, way)
					wantState(t, d, at, driver.Unknown)
				}
			}
		})
	}
}

func wantState(t *testing.T, d *PDUs, at driver.Target, want driver.State) {
	t.Helper()
	if is, err := d.Status(t.Context(), at); err != nil || is != want {
		t.Errorf("outlet %s is %s, %v; want %s", at.Port, is, err, want)
	}
}

const enterprises = "1.3.6.1.4.1."

func byMaker(all []exchange) map[string][]exchange {
	by := map[string][]exchange{}
	for _, e := range all {
		maker, _, _ := strings.Cut(strings.TrimPrefix(e.status, enterprises), ".")
		by[maker] = append(by[maker], e)
	}
	return by
}

func below(values map[string]string, maker string) map[string]string {
	theirs := map[string]string{}
	for oid, value := range values {
		if strings.HasPrefix(oid, enterprises+maker+".") {
			theirs[oid] = value
		}
	}
	return theirs
}

// rack are the values of an APC whose outlet 3 does as it is told, a moment later; outlet 4
// accepts all, and does nothing.
func rack() map[string]string {
	const control, state = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.", "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4."
	return map[string]string{
		control + "3": "1", state + "3": "1", control + "3.then": state + "3 1=1 2=2 200ms",
		control + "4": "1", state + "4": "1",
	}
}

// TestSwitch switches such outlets.
func TestSwitch(t *testing.T) {
	t.Parallel()
	const states = "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4."
	a := newAgent(t, "318", rack())
	d := open(t, access(a.Address), profile(t, "apc"))
	for _, on := range []bool{false, true} {
		want, value := driver.Off, "2"
		if on {
			want, value = driver.On, "1"
		}
		for _, port := range []string{"3", "4"} {
			if err := d.Switch(t.Context(), driver.Target{Port: port}, on); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "it shows", func() bool {
			is, err := d.Status(t.Context(), driver.Target{Port: "3"})
			return err == nil && is == want
		})
		if a.value(states+"3") != value || a.value(states+"4") != "1" {
			t.Errorf("the outlets are %s and %s", a.value(states+"3"), a.value(states+"4"))
		}
		wantState(t, d, driver.Target{Port: "4"}, driver.On)
	}
}

// TestAccess switches as a user of version 3, at an address that the outlet names, and as
// others who are not let in.
func TestAccess(t *testing.T) {
	t.Parallel()
	a := newAgent(t, "318", rack())
	apc := profile(t, "apc")
	user := access("")
	user.Version, user.Community = snmp.V3, ""
	user.User, user.AuthProtocol, user.AuthPassword, user.PrivProtocol, user.PrivPassword = "walt", snmp.SHA256, "authpass1", snmp.AES, "privpass1"
	at := driver.Target{Host: a.Address, Port: "3"}
	d := open(t, user, apc)
	wantState(t, d, at, driver.On)
	if err := d.Switch(t.Context(), at, false); err != nil {
		t.Error(err)
	}
	user.AuthPassword = "a wrong one"
	_, err := open(t, user, apc).Status(t.Context(), at)
	wantRefusal(t, err, "PDU rack1 ("+a.Address+")", "authentication password of its SNMP user walt")

	reads := access(a.Address)
	reads.Community = "public"
	err = open(t, reads, apc).Switch(t.Context(), at, true)
	wantRefusal(t, err, "refuses to set outlet 3 to 1 (NoAccess)", "allow its SNMP community to do so on the PDU")
	wrong := access(a.Address)
	wrong.Community, wrong.Timeout = "wrong", 250*time.Millisecond
	_, err = open(t, wrong, apc).Status(t.Context(), at)
	wantFault(t, err, "does not answer SNMP requests", "a wrong community is answered with silence")
}

// TestOutlets are some that are not there, or are none.
func TestOutlets(t *testing.T) {
	t.Parallel()
	a := newAgent(t, "318", rack())
	d := open(t, access(a.Address), profile(t, "apc"))
	_, err := d.Status(t.Context(), driver.Target{Port: "9"})
	wantRefusal(t, err, "PDU rack1 ("+a.Address+") has no outlet 9", "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.9")
	err = d.Switch(t.Context(), driver.Target{Port: "9"}, true)
	wantRefusal(t, err, "refuses to set outlet 9 to 1 (NotWritable)")
	for _, port := range []string{"", "x", "1.", "1..2", "1.{port}", "99999999999", "-1"} {
		_, err := d.Status(t.Context(), driver.Target{Port: port})
		wantRefusal(t, err, "a PDU has no outlet", "as in rack1:7")
	}
	name := open(t, access(a.Address), Profile{OID: "1.3.6.1.2.1.1.5", On: 1, Off: 2})
	_, err = name.Status(t.Context(), driver.Target{Port: "0"})
	wantRefusal(t, err, "has no integer for outlet 0")
}

// TestSilent ends the wait for a PDU that stands still, and goes on when it does.
func TestSilent(t *testing.T) {
	t.Parallel()
	a := newAgent(t, "318", rack())
	d := open(t, func() snmp.Switch { s := access(a.Address); s.Timeout = 100 * time.Millisecond; return s }(), profile(t, "apc"))
	at := driver.Target{Port: "3"}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := a.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	_, err := d.Status(t.Context(), at)
	wantFault(t, err, "PDU rack1 ("+a.Address+") does not answer SNMP requests")
	if _, is := errors.AsType[driver.Refusal](err); is {
		t.Error("it would not be asked again")
	}
	signal(syscall.SIGCONT)
	until(t, "it answers", func() bool { is, err := d.Status(t.Context(), at); return err == nil && is == driver.On })
}

func TestSettings(t *testing.T) {
	t.Parallel()
	one := 1
	for says, p := range map[string]Profile{
		"oid: is missing":              {},
		`oid: "ifDescr" is no OID`:     {OID: "ifDescr", On: 1, Off: 2},
		"{port} where the outlet":      {OID: "1.3.{port}.{port}", On: 1, Off: 2},
		"off_oid":                      {OID: "1.3", OffOID: "1..3"},
		"on and off are both 1":        {OID: "1.3", On: 1, Off: 1},
		"on and off are both 0":        {OID: "1.3"},
		"status_on and status_off are": {OID: "1.3", On: 2, Off: 1, StatusOn: &one},
	} {
		_, err := New(access("10.9.0.2"), p)
		wantFault(t, err, says)
	}
	_, err := New(snmp.Switch{Name: "rack1", Address: "10.9.0.2", Version: snmp.V2}, Profile{OID: "1.3", On: 1, Off: 2})
	wantFault(t, err, "PDU rack1 (10.9.0.2) needs an SNMP community")
	_, err = ParseProfile("acme")
	wantFault(t, err, `"acme" is no profile; there are: apc, apc-masterswitch, apc-rpdu2, aten`)
}

// wantRefusal checks that err is a fault that is not tried again.
func wantRefusal(t *testing.T, err error, says ...string) {
	t.Helper()
	wantFault(t, err, says...)
	if _, is := errors.AsType[driver.Refusal](err); !is {
		t.Errorf("it would be tried again: %v", err)
	}
}

// until waits for something that is about to happen.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
