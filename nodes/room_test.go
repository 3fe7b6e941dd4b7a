package nodes

import (
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
)

// No more machines are on than there is room for, whoever switches one on, and by what.
func TestRoomForMachines(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.Hosts[QEMU] = l.grid
	l.Creates = func(images.Model) (HostKind, string, error) { return QEMU, "", nil }
	create := func(name Name, with ...Assignment) error {
		return errorOf(l.Create(t.Context(), "bob", Virtual{Name: name, Model: "m1", Settings: with}, nil))
	}
	off := func(set string) {
		t.Helper()
		ok(t, l.PowerOff(t.Context(), "bob", parse(set), true, consent.Agreement{}, func(Change) {}))
	}
	on := func(set string) error {
		return l.PowerOn(t.Context(), "bob", parse(set), consent.Agreement{}, func(Change) {})
	}
	configure := func(set, key, value string) error {
		return errorOf(l.Configure(t.Context(), "bob", parse(set), true, []Assignment{{key, value}}, consent.Agreement{}))
	}
	full := func(what string, err error, named ...string) {
		t.Helper()
		wantFault(t, err, fault.Failed, append(named, "; nothing changed", "[virtual]")...)
		if t.Failed() {
			t.Fatal(what, err)
		}
	}
	ok(t, create("anywhere", Assignment{"ram", "64G"})) // there are no limits
	l.SetLimits(Limits{Memory: 2048, CPUs: 4, Machines: 3})
	off("anywhere")
	full("it is too big alone", on("anywhere"), "anywhere would take 64 GiB of memory, and machines of this server may take 2 GiB")
	full("nor can it grow", configure("anywhere", "ram", "65G"), "65 GiB")
	ok(t, configure("anywhere", "ram", "1G"))

	ok(t, create("vm1"))
	ok(t, create("vm2", Assignment{"ram", "1G"}, Assignment{"cpu.cores", "4"}))
	full("create", create("vm3", Assignment{"ram", "1G"}), "2 machines take 1536 MiB of the 2 GiB that machines may take, and vm3 would take 1 GiB", "node off")
	full("on", on("anywhere"), "and anywhere would take 1 GiB")
	full("config", configure("vm1", "ram", "1025M"), "1 machine takes 1 GiB of the 2 GiB that machines may take, and vm1 would take 1025 MiB")
	full("config of several", configure("vm1,vm2", "ram", "1100M"), "vm1, vm2 would take 2200 MiB")
	full("processors", configure("vm1", "cpu.cores", "5"), "vm1 would have 5 processors, and a machine of this server may have 4")
	full("of a new one", create("vm3", Assignment{"cpu.cores", "5"}), "vm3 would have 5 processors")
	full("an image", errorOf(l.SetImage(t.Context(), "bob", parse("anywhere"), "m1-default", Remarks{}, consent.Agreement{})), "anywhere would take 1 GiB")
	full("a reboot", l.Reboot(t.Context(), "bob", parse("anywhere"), false, consent.Agreement{}, func(Change) {}), "anywhere would take 1 GiB")
	if l.state(t, "anywhere").Off.By != "bob" {
		t.Error("it was switched on")
	}
	ok(t, configure("vm1", "ram", "1G")) // there is as much
	ok(t, configure("vm1", "ram", "256M"))
	l.SetLimits(Limits{Memory: 512}) // those that are on go on
	ok(t, configure("vm2", "ram", "800M"))
	full("config", configure("vm1", "ram", "300M"), "1 machine takes 800 MiB of the 512 MiB")
	l.SetLimits(Limits{Machines: 2})
	full("number", create("vm3"), "2 of the 2 machines that may be on are on; there is no room for vm3")
	off("vm1")
	ok(t, on("anywhere"))
	ok(t, errorOf(l.Remove(t.Context(), "bob", parse("vm2"), consent.Agreement{})))
	ok(t, on("vm1"))
	l.Creates = nil
	ok(t, create("simulated"))
	if s := l.device(t, "vm1").Settings(); s.mebibytes() != 256 || s.CPUs() != 1 {
		t.Errorf("vm1 has %+v", s)
	}
}

func TestSizesOfMachines(t *testing.T) {
	t.Parallel()
	var all []string
	for _, n := range []int{512, 1024, 1536, 10 << 10, 20<<10 + 512} {
		all = append(all, mib(n))
	}
	if got := strings.Join(all, ", "); got != "512 MiB, 1 GiB, 1536 MiB, 10 GiB, 20.5 GiB" {
		t.Error(got)
	}
}
