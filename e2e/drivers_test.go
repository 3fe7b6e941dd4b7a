package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"walt/e2e/lab"
)

// moody is the program of an outlet that is off while there is the file off beside it, and
// whose mood is the other files: silent, slow, lying (it says that it did), and dark (it does
// not come on).
const moody = `#!/bin/sh
cd "$(dirname "$0")"
while [ -e silent ]; do sleep 0.1; done
[ ! -e slow ] || sleep 0.5
case $1 in
off) [ -e lying ] || { : >off; echo off >>did; } ;;
on)
	if [ -e dark ]; then
		while [ -e dark ]; do sleep 0.1; done
		exit 1
	fi
	[ -e lying ] || { rm -f off; echo on >>did; }
	;;
status) if [ -e off ]; then echo off; else echo on; fi ;;
*) exit 2 ;;
esac
`

// fed is a lab with a free node for each kind of driver, which is called as that. Power is saved.
type fed struct {
	*lab.Lab
	t       *testing.T
	nodes   string
	outlets map[string]*lab.Outlet // by kind
	dirs    map[string]string      // of them
}

func newFed(t *testing.T) *fed {
	t.Helper()
	f := &fed{startLab(t), t, strings.Join(lab.OutletKinds, ","), map[string]*lab.Outlet{}, map[string]string{}}
	declared, nodes, supplies := "\n[power]\nidle = \"1s\"\n", "", ""
	for i, kind := range lab.OutletKinds {
		dir, err := os.MkdirTemp("", "wo") // t.TempDir is too long for the simulators
		if err != nil {
			t.Fatal(err)
		}
		o, err := lab.NewOutlet(dir, kind, moody)
		if err == nil {
			err = o.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(os.RemoveAll(dir), o.Stop()); err != nil { // programs that wait end, too
				t.Error(err)
			}
		})
		f.outlets[kind], f.dirs[kind] = o, dir
		declared += o.Driver + "timeout = \"5s\"\n"
		nodes += fmt.Sprintf("device add %s --mac 52:54:00:00:06:%02x --model rpi-3-b\n", kind, i)
		supplies += fmt.Sprintf("device config %s power=%s power.off=1s\n", kind, o.Supply)
	}
	config, err := os.ReadFile(f.Config)
	if err == nil {
		err = os.WriteFile(f.Config, append(config, declared...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.restart(f.Stop)
	if err := f.Add("", "bob"); err != nil {
		t.Fatal(err)
	}
	plugIn(t, f.Lab, nodes)
	if _, err := f.Run(supplies, lab.Admin); err != nil {
		t.Fatal(err)
	}
	return f
}

// restart has the server end as that does, and start again.
func (f *fed) restart(end func() error) {
	f.t.Helper()
	err := end()
	if err == nil {
		err = f.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// does has bob do something with all nodes.
func (f *fed) does(command string) {
	f.t.Helper()
	if _, err := f.Run("", "bob", command, f.nodes); err != nil {
		f.t.Fatal(err)
	}
}

// fails is does of what cannot be done, and returns why.
func (f *fed) fails(command string) string {
	f.t.Helper()
	_, err := f.Run("", "bob", command, f.nodes)
	if err == nil {
		f.t.Fatalf("%s could be done", command)
	}
	return err.Error()
}

// be gives all outlets a mood, or takes it.
func (f *fed) be(mood string, is bool) {
	f.t.Helper()
	for _, dir := range f.dirs {
		name := filepath.Join(dir, mood)
		err := os.Remove(name)
		if is {
			err = os.WriteFile(name, nil, 0o644)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// are waits until all outlets are off, or on.
func (f *fed) are(off bool) {
	f.t.Helper()
	err := eventually(func() error {
		for kind, dir := range f.dirs {
			if _, err := os.Stat(filepath.Join(dir, "off")); (err == nil) != off {
				return fmt.Errorf("the outlet of kind %s is off: %t", kind, !off)
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// settle waits until all are on, and nothing is ordered of them any more.
func (f *fed) settle() {
	f.t.Helper()
	err := eventually(func() error {
		out, err := f.Run("", lab.Admin, "power show --json")
		if n := strings.Count(out, `"power":"on"`); err == nil && n != len(f.dirs) {
			err = fmt.Errorf("%d are on: %s", n, out)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// did checks what the outlets were told to be since the last time. A packet that is answered
// late is sent twice.
func (f *fed) did(want string) {
	f.t.Helper()
	for kind, dir := range f.dirs {
		name := filepath.Join(dir, "did")
		got, err := os.ReadFile(name)
		if err == nil {
			err = os.Remove(name)
		}
		if words := strings.Join(slices.Compact(strings.Fields(string(got))), " "); err != nil || words != want {
			f.t.Errorf("the outlet of kind %s was switched %q (%v), want %q", kind, words, err, want)
		}
	}
}

// passwords changes those of all outlets that have one.
func (f *fed) passwords(change func(string) string) {
	f.t.Helper()
	for _, o := range f.outlets {
		password, err := o.Password()
		if err == nil && password != "" {
			err = os.WriteFile(o.Secret, []byte(change(password)), 0o600)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// Each kind of driver switches its device, a real one where there is, also a device that
// is slow, lies, is silent or lets nobody in; and nobody's node is left without power, also when
// the server is killed.
func TestKindsOfDrivers(t *testing.T) {
	t.Parallel()
	f := newFed(t)

	// Nobody needs them, and then somebody does.
	f.are(true)
	f.does("node acquire")
	f.are(false)
	f.did("off on")

	f.does("node off --hard")
	f.did("off")
	f.does("node on")
	f.did("on")
	f.does("node reboot --hard")
	f.did("off on")

	f.be("slow", true)
	f.does("node reboot --hard")
	f.did("off on")
	f.be("slow", false)

	f.be("lying", true)
	why := f.fails("node reboot --hard")
	f.be("lying", false)
	for _, o := range f.outlets {
		if want := o.Supply + " was told to be off, and says 20s later that it is on"; !strings.Contains(why, want) {
			t.Errorf("%s, not %s", why, want)
		}
	}
	f.are(false)

	f.passwords(func(right string) string { return "no" + right })
	f.restart(f.Stop)
	why = f.fails("node reboot --hard")
	for _, want := range []string{
		"http:1 refuses who asks (401 Unauthorized)",
		"does not let user walt in",
		"does not let user walt do that (401 Unauthorized)",
		"authentication password of its SNMP user walt, or the protocol, is wrong",
	} {
		if !strings.Contains(why, want) {
			t.Errorf("%s, and nothing of %s", why, want)
		}
	}
	f.passwords(func(wrong string) string { return strings.TrimPrefix(wrong, "no") })

	// The server is killed while their power is cut for a moment.
	f.restart(f.Stop)
	f.settle()
	f.be("dark", true)
	reboot := f.SSH("bob", nil, "node reboot --hard", f.nodes)
	if err := reboot.Start(); err != nil {
		t.Fatal(err)
	}
	f.are(true)
	if err := f.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = reboot.Wait() // its connection is lost
	f.are(true)
	f.be("dark", false)
	f.restart(f.Kill)
	f.are(false)

	// They are off to save power, and taken while their devices are silent, which goes on
	// when the server is killed and comes back.
	f.does("node release")
	f.are(true)
	f.be("silent", true)
	why = f.fails("node acquire")
	for _, kind := range lab.OutletKinds {
		if want := kind + " is yours and boots rpi-3-b-default at its next start: the reboot failed"; !strings.Contains(why, want) {
			t.Errorf("%s, and nothing of %s", why, want)
		}
	}
	f.restart(f.Kill)
	f.be("silent", false)
	f.settle()
	f.are(false)

	// Nothing tells a password.
	log, err := os.ReadFile(f.Log())
	events, failed := f.Run("", lab.Admin, "log show --json")
	if err != nil || failed != nil || !strings.Contains(events, "switched off to save power") {
		t.Fatal(err, failed)
	}
	for _, o := range f.outlets {
		if secret, err := o.Password(); err != nil || secret != "" && strings.Contains(string(log)+events, secret) {
			t.Errorf("the password of %s is told (%v)", o.Supply, err)
		}
	}
}
