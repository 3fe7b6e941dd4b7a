package pdu

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/fault"
	"walt/power/snmp"
	"walt/power/snmp/snmptest"
)

// behind names the folder of the values of the agent behind which this test's own program
// runs, as its pass_persist: see persist.
const behind = "PDU_VALUES"

func TestMain(m *testing.M) {
	if dir := os.Getenv(behind); dir != "" {
		persist(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// persist answers snmpd as man 5 snmpd.conf says: the value of an OID is in a file of that
// name in the folder. Writing one that has a second file, OID.then, has what is told there
// become of another one after some time: "OID VALUE=VALUE... AFTER", the value to be for each
// that may be written.
func persist(dir string) {
	in := bufio.NewScanner(os.Stdin)
	line := func() string { in.Scan(); return in.Text() }
	value := func(oid string) (string, bool) {
		text, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(oid, ".")))
		return strings.TrimSpace(string(text)), err == nil
	}
	for in.Scan() {
		switch in.Text() {
		case "PING":
			fmt.Println("PONG")
		case "get":
			oid := line()
			if text, has := value(oid); has {
				fmt.Printf("%s\ninteger\n%s\n", oid, text)
			} else {
				fmt.Println("NONE")
			}
		case "getnext":
			line()
			fmt.Println("NONE")
		case "set":
			oid, written := line(), strings.TrimPrefix(line(), "integer ")
			if _, has := value(oid); !has {
				fmt.Println("not-writable")
				continue
			}
			if then, has := value(oid + ".then"); has {
				change(dir, written, strings.Fields(then))
			}
			fmt.Println("DONE")
		}
	}
}

// change has another value become what follows from the one that was written.
func change(dir, written string, then []string) {
	after, err := time.ParseDuration(then[len(then)-1])
	if err != nil {
		panic(err)
	}
	for _, pair := range then[1 : len(then)-1] {
		if from, to, _ := strings.Cut(pair, "="); from == written {
			time.AfterFunc(after, func() { put(dir, then[0], to) })
		}
	}
}

// put writes a value at once: readers see the one or the other.
func put(dir, oid, value string) {
	path := filepath.Join(dir, oid)
	if err := os.WriteFile(path+".new", []byte(value), 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		panic(err)
	}
}

// agent is net-snmp's, as that of a PDU.
type agent struct {
	*snmptest.Agent
	t      *testing.T
	values string // their folder
}

// newAgent runs one that serves the values of a folder of its own, below .1.3.6.1.4.1.ENTERPRISE.
func newAgent(t *testing.T, enterprise string, values map[string]string) agent {
	t.Helper()
	dir := t.TempDir()
	for oid, value := range values {
		put(dir, oid, value)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return agent{snmptest.Run(t, fmt.Sprintf("pass_persist .1.3.6.1.4.1.%s %s\n", enterprise, self), behind+"="+dir), t, dir}
}

// value is what the agent has at an OID, whoever put it there.
func (a agent) value(oid string) string {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.values, oid))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

// access lets the tests in at an address.
func access(address string) snmp.Switch {
	return snmp.Switch{Name: "rack1", Address: address, Version: snmp.V2, Community: "private", Timeout: 3 * time.Second}
}

// open makes PDUs.
func open(t *testing.T, access snmp.Switch, p Profile) *PDUs {
	t.Helper()
	d, err := New(access, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// profile is one that the server knows.
func profile(t *testing.T, name string) Profile {
	t.Helper()
	p, err := ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantFault checks that err is a fault that says all this, in its message or hint, and
// tells no secret.
func wantFault(t *testing.T, err error, says ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want a fault that says %q", err, says)
	}
	text := f.Msg + "\n" + f.Hint
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("the fault %q does not say %q", text, s)
		}
	}
	for _, secret := range []string{"private", "authpass1", "privpass1"} {
		if strings.Contains(text, secret) {
			t.Errorf("the fault %q tells a secret", text)
		}
	}
}
