package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/e2e/lab"
)

// swept is a device that is switched with others.
type swept struct {
	driver   string   // what the server's file says of its driver
	supplies []string // of the nodes that hang there
	off      func() (int, error)
}

// sweptBy makes a device of a kind of driver, with so many outlets, that ends with the test.
func sweptBy(t *testing.T, kind, name string, outlets int) swept {
	t.Helper()
	dir, err := os.MkdirTemp("", "wo") // t.TempDir is too long for the simulators
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := swept{driver: fmt.Sprintf("[[power.driver]]\nname = %q\nkind = %q\n", name, kind)}
	for at := range outlets {
		d.supplies = append(d.supplies, fmt.Sprintf("%s:%d", name, at+1))
	}
	switch kind {
	case "snmp":
		sw, err := lab.NewSwitch(dir, 1, outlets, nil)
		if err == nil {
			err = sw.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sw.Stop() })
		d.driver += fmt.Sprintf("host = %q\noid = \"1.3.6.1.2.1.105.1.1.1.3.1\"\non = 1\noff = 2\n", sw.Address)
		d.off = func() (n int, err error) {
			for _, outlet := range sw.Outlets {
				on, failed := sw.Power(outlet)
				if err = errors.Join(err, failed); !on {
					n++
				}
			}
			return n, err
		}
	case "ipmi":
		b, err := lab.NewBMC(dir)
		secret := filepath.Join(dir, "secret")
		if err == nil {
			err = errors.Join(os.WriteFile(secret, []byte("secret-one"), 0o600), b.Start())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Stop() })
		d.driver += fmt.Sprintf("user = \"walt\"\npassword_file = %q\n", secret)
		d.supplies = []string{name + "@" + b.Host + ":" + b.Port}
		d.off = func() (int, error) {
			if b.Off() {
				return 1, nil
			}
			return 0, nil
		}
	default:
		s := lab.NewStrip(20 * time.Millisecond)
		t.Cleanup(func() {
			if s.Close(); s.Busiest() != 1 {
				t.Errorf("%s was asked %d things at a time", name, s.Busiest())
			}
		})
		d.driver, d.off = s.Driver(name), func() (int, error) { return s.Dark(), nil }
	}
	return d
}

// TestSweep switches a whole lab, 200 nodes on 10 devices and some that have BMCs, off to save
// power, and on again since somebody takes all of it: each device is asked one thing at a time,
// outlets come on one after the other, and others go on working meanwhile.
func TestSweep(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	var devices []swept
	for kind, has := range map[string][2]int{"http": {5, 20}, "snmp": {5, 20}, "ipmi": {8, 1}} {
		for i := range has[0] {
			devices = append(devices, sweptBy(t, kind, fmt.Sprintf("%s%d", kind, i), has[1]))
		}
	}
	declared, adds, supplies, all := "\n[power]\nidle = \"1s\"\n", "device add other --mac 52:54:00:00:08:00 --model rpi-3-b\n", "", 0
	for _, d := range devices {
		declared += d.driver
		for _, supply := range d.supplies {
			adds += fmt.Sprintf("device add n%d --mac 52:54:00:00:07:%02x --model rpi-3-b\n", all, all)
			supplies += fmt.Sprintf("device config n%d power=%s\n", all, supply)
			all++
		}
	}
	config, err := os.ReadFile(l.Config)
	if err = errors.Join(err, os.WriteFile(l.Config, append(config, declared...), 0o644), l.Stop(), l.Start(), l.Add("", "alice", "bob")); err != nil {
		t.Fatal(err)
	}
	plugIn(t, l, adds)
	if _, err := l.Run(supplies, lab.Admin); err != nil {
		t.Fatal(err)
	}
	are := func(off bool) error {
		for _, d := range devices {
			n, want := 0, 0
			if off {
				want = len(d.supplies)
			}
			if n, err = d.off(); err != nil || n != want {
				return fmt.Errorf("%d outlets are off, not %d (%v), of %s", n, want, err, d.driver)
			}
		}
		return nil
	}
	began := time.Now()
	if err := eventually(func() error { return are(true) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d outlets went off within %v", all, time.Since(began))

	client, err := l.Dial("bob")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	began = time.Now()
	taken := make(chan error, 1)
	go func() { // ends with the command
		_, err := l.Run("", "alice", "node acquire n[0-9]*")
		taken <- err
	}()
	// It takes 200 ms for each, and what others do ends before that.
	meanwhile := false
	for waiting := true; waiting; {
		select {
		case err = <-taken:
			waiting = false
		case <-time.After(time.Second):
			for _, command := range []string{"node acquire other", "node release other", "power show", "node show --all"} {
				if out, err := runOn(client, command); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
			}
			if are(false) != nil {
				meanwhile = true
			}
		}
	}
	took := time.Since(began)
	if err := errors.Join(err, are(false)); err != nil {
		t.Fatal(err)
	}
	if !meanwhile {
		t.Error("others waited until all was on")
	}
	if t.Logf("%d outlets came on within %v", all, took); took < time.Duration(all)*150*time.Millisecond {
		t.Error("they came on together")
	}
	if out, err := l.Run("", lab.Admin, "power show --json"); err != nil || strings.Contains(out, `"power":"to be on"`) {
		t.Errorf("%s, %v", out, err)
	}
}
