package e2e

import (
	"errors"
	"fmt"
	"io/fs"
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
off) [ -e lying ] || { echo off >>did; : >off; } ;;
on)
	if [ -e dark ]; then
		while [ -e dark ]; do sleep 0.1; done
		exit 1
	fi
	[ -e lying ] || { echo on >>did; rm -f off; }
	;;
status) if [ -e off ]; then echo off; else echo on; fi ;;
*) exit 2 ;;
esac
`

// poe is the kind of what is no driver: a port of a PoE switch.
const poe = "poe"

// fed is a lab with a free node for each kind of driver, and one at a port of a PoE switch,
// which are called as their kinds. Of each driver there is a node KIND-mate that nothing feeds.
// Power is saved.
type fed struct {
	*lab.Lab
	t       *testing.T
	kinds   []string               // that are looked at
	outlets map[string]*lab.Outlet // by kind of driver
	dirs    map[string]string      // of what gives power, by kind
}

func newFed(t *testing.T) *fed {
	t.Helper()
	f := &fed{startLab(t), t, append([]string{poe}, lab.OutletKinds...), map[string]*lab.Outlet{}, map[string]string{}}
	declared, nodes, supplies := "\n[power]\nidle = \"1s\"\n", "", ""
	for i, kind := range f.kinds {
		dir, err := os.MkdirTemp("", "wo") // t.TempDir is too long for the simulators
		if err != nil {
			t.Fatal(err)
		}
		f.dirs[kind] = dir
		nodes += fmt.Sprintf("device add %s --mac 52:54:00:00:06:%02x --model rpi-3-b\n", kind, i)
		var device interface {
			Start() error
			Stop() error
		}
		if kind == poe {
			sw, err := lab.NewSwitch(dir, 1, 1, nil)
			program := filepath.Join(dir, "outlet")
			if err == nil {
				err = errors.Join(os.WriteFile(program, []byte(moody), 0o755), sw.Worked(program))
			}
			if err != nil {
				t.Fatal(err)
			}
			device = sw
			supplies += "device add sw-1 --mac 52:54:00:00:02:01\n" +
				"device config sw-1 type=switch address=" + sw.Address + " poe.reboots=true snmp.version=3 snmp.user=walt snmp.auth-protocol=SHA-256 " +
				"snmp.auth-password=authpass1 snmp.priv-protocol=AES snmp.priv-password=privpass1\n" +
				"device config poe switch=sw-1 port=1\n"
		} else {
			o, err := lab.NewOutlet(dir, kind, moody)
			if err != nil {
				t.Fatal(err)
			}
			device, f.outlets[kind] = o, o
			nodes += fmt.Sprintf("device add %s-mate --mac 52:54:00:00:09:%02x --model rpi-3-b\n", kind, i)
			declared += o.Driver + "timeout = \"5s\"\n"
			supplies += fmt.Sprintf("device config %s power=%s power.off=1s\n", kind, o.Supply)
		}
		if err := device.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(os.RemoveAll(dir), device.Stop()); err != nil { // programs that wait end, too
				t.Error(err)
			}
		})
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

// nodes is the set of those that are looked at.
func (f *fed) nodes() string { return strings.Join(f.kinds, ",") }

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
	if _, err := f.Run("", "bob", command, f.nodes()); err != nil {
		f.t.Fatal(err)
	}
}

// fails is does of what cannot be done, and returns why.
func (f *fed) fails(command string) string {
	f.t.Helper()
	_, err := f.Run("", "bob", command, f.nodes())
	if err == nil {
		f.t.Fatalf("%s could be done", command)
	}
	return err.Error()
}

// refuse has bob fail to reboot the nodes, each for its reason.
func (f *fed) refuse(why map[string]string) {
	f.t.Helper()
	said := f.fails("node reboot --hard")
	_, reasons, _ := strings.Cut(said, "could not reboot ")
	of := map[string]string{}
	for reason := range strings.SplitSeq(reasons, "; ") {
		kind, words, _ := strings.Cut(reason, ": ")
		of[kind] = words
	}
	for _, kind := range f.kinds {
		if want := why[kind]; want == "" || !strings.Contains(of[kind], want) {
			f.t.Errorf("%s: %q, want %q in %s", kind, of[kind], want, said)
		}
	}
}

// be gives all outlets a mood, or takes it.
func (f *fed) be(mood string, is bool) {
	f.t.Helper()
	for _, kind := range f.kinds {
		name := filepath.Join(f.dirs[kind], mood)
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
		for _, kind := range f.kinds {
			if _, err := os.Stat(filepath.Join(f.dirs[kind], "off")); (err == nil) != off {
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
		out, err := f.Run("", lab.Admin, "power show --json", f.nodes())
		if n := strings.Count(out, `"power":"on"`); err == nil && n != len(f.kinds) {
			err = fmt.Errorf("%d are on: %s", n, out)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// did waits until the outlets were told to be that since the last time. A packet that is
// answered late is sent twice.
func (f *fed) did(want string) {
	f.t.Helper()
	err := eventually(func() error {
		for _, kind := range f.kinds {
			if words, err := f.told(kind); err != nil || words != want {
				return fmt.Errorf("the outlet of kind %s was switched %q (%v), want %q", kind, words, err, want)
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.forget()
}

// forget begins anew with what the outlets were told to be.
func (f *fed) forget() {
	f.t.Helper()
	for _, kind := range f.kinds {
		if err := os.WriteFile(filepath.Join(f.dirs[kind], "did"), nil, 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

// told is what an outlet was told to be since the last time.
func (f *fed) told(kind string) (string, error) {
	text, err := os.ReadFile(filepath.Join(f.dirs[kind], "did"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return strings.Join(slices.Compact(strings.Fields(string(text))), " "), err
}

// areWoken has bob wait for the nodes, which are boards without a network, until all have power.
func (f *fed) areWoken() {
	f.t.Helper()
	wait := f.SSH("bob", nil, "node wait", f.nodes())
	if err := wait.Start(); err != nil {
		f.t.Fatal(err)
	}
	err := eventually(func() error {
		for _, kind := range f.kinds {
			if words, err := f.told(kind); err != nil || words == "" {
				return fmt.Errorf("the outlet of kind %s was not switched (%v)", kind, err)
			}
		}
		return nil
	})
	_ = wait.Process.Kill() // or it ended
	_ = wait.Wait()
	if err != nil {
		f.t.Fatal(err)
	}
}

// passwords has the server know those of all outlets that have one, or wrong ones.
func (f *fed) passwords(right bool) {
	f.t.Helper()
	wrong := ""
	if !right {
		wrong = "no"
	}
	_, err := f.Run("", lab.Admin, "device config sw-1 --yes snmp.auth-password="+wrong+"authpass1")
	for _, o := range f.outlets {
		password, failed := o.Password()
		if failed == nil && password != "" {
			failed = os.WriteFile(o.Secret, []byte(wrong+strings.TrimPrefix(password, "no")), 0o600)
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.restart(f.Stop)
}

// Each kind of driver switches its device, a real one where there is, also a device that
// is slow, lies, is silent or lets nobody in; and nobody's node is left without power, also when
// the server is killed.
func TestKindsOfDrivers(t *testing.T) {
	t.Parallel()
	f := newFed(t)

	// Nobody needs them, then somebody waits for them, and somebody takes them.
	f.are(true)
	f.did("off")
	f.areWoken()
	f.did("on off")
	f.does("node acquire")
	f.are(false)
	f.did("on")

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
	why := map[string]string{poe: "accepted to turn the power of port 1 (Gi1/0/1) off, but it is still on"}
	for kind, o := range f.outlets {
		why[kind] = o.Supply + " was told to be off, and says 20s later that it is on"
	}
	f.refuse(why)
	f.be("lying", false)
	f.are(false)

	f.passwords(false)
	of := f.kinds
	f.kinds = slices.DeleteFunc(slices.Clone(of), func(kind string) bool { return kind == "command" }) // it has none
	const snmp = "authentication password of its SNMP user walt, or the protocol, is wrong"
	f.refuse(map[string]string{
		poe: snmp, "snmp": snmp, "http": "http:1 refuses who asks (401 Unauthorized)",
		"ipmi": "does not let user walt in", "redfish": "does not let user walt do that (401 Unauthorized)",
	})
	f.kinds = of
	f.passwords(true)

	// The server is killed while their power is cut for a moment.
	f.settle()
	f.be("dark", true)
	reboot := f.SSH("bob", nil, "node reboot --hard", f.nodes())
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
	said := f.fails("node acquire")
	for _, kind := range f.kinds {
		if want := kind + " is yours and boots rpi-3-b-default at its next start: the reboot failed"; !strings.Contains(said, want) {
			t.Errorf("%s, and nothing of %s", said, want)
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

// What other nodes hang on is switched for all of them, who are asked, and by nobody else; also
// by a server that is killed meanwhile.
func TestSharedOutletsOfEachKind(t *testing.T) {
	t.Parallel()
	f := newFed(t)
	f.does("node acquire")
	f.kinds = lab.OutletKinds
	supplies := ""
	for _, kind := range f.kinds {
		supplies += fmt.Sprintf("device config %s-mate power=%s\n", kind, f.outlets[kind].Supply)
	}
	if _, err := f.Run(supplies, lab.Admin); err != nil {
		t.Fatal(err)
	}
	f.settle()
	f.forget() // whether they were off before

	why := f.fails("node reboot --hard")
	for _, kind := range f.kinds {
		if want := kind + "-mate loses its power, too (" + f.outlets[kind].Supply + "): it is nobody's"; !strings.Contains(why, want) {
			t.Errorf("%s, and nothing of %s", why, want)
		}
	}
	f.did("")
	f.does("node reboot --hard --yes")
	f.did("off on")

	f.be("dark", true)
	reboot := f.SSH("bob", nil, "node reboot --hard --yes", f.nodes())
	if err := reboot.Start(); err != nil {
		t.Fatal(err)
	}
	f.are(true)
	if err := f.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = reboot.Wait() // its connection is lost
	f.be("dark", false)
	f.restart(f.Kill)
	f.settle()
	f.did("off on")

	// Nobody needs any of them: who hangs alone somewhere loses its power, and nobody else does.
	f.does("node release")
	if _, err := f.Run("", "bob", "node release", poe); err != nil {
		t.Fatal(err)
	}
	f.kinds = []string{poe}
	f.are(true)
	f.kinds = lab.OutletKinds
	f.settle()
	f.did("")
}
