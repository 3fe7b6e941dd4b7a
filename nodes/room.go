package nodes

import (
	"fmt"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/state"
)

// Limits are what the machines of this server may take. What is zero is not limited.
type Limits struct {
	Memory   int // MiB, of all that are on
	CPUs     int // processors of one
	Machines int // that are on
}

// mebibytes is Memory in MiB.
func (s Settings) mebibytes() int { return int(s.Memory() >> 20) }

// CPUs is how many processors a machine has.
func (s Settings) CPUs() int { return max(s.Cores, 1) }

// Check is a fault when there is no room for a machine more, or several together, beside
// others that take some MiB of memory.
func (x Limits) Check(others, taken int, more ...Device) error {
	var names []string
	need := 0
	for _, d := range more {
		if x.CPUs > 0 && d.Settings().CPUs() > x.CPUs {
			return fault.Failedf("%s would have %d processors, and a machine of this server may have %d", d.Name, d.Settings().CPUs(), x.CPUs).
				WithHint("give it fewer, or see [virtual] in: help show admin")
		}
		names, need = append(names, string(d.Name)), need+d.Settings().mebibytes()
	}
	free := "switch some off that nobody needs with \"node off\", or see [virtual] in: help show admin"
	switch {
	case x.Memory > 0 && need > x.Memory:
		return fault.Failedf("%s would take %s of memory, and machines of this server may take %s", strings.Join(names, ", "), mib(need), mib(x.Memory)).
			WithHint("give it less, or see [virtual] in: help show admin")
	case x.Memory > 0 && taken+need > x.Memory:
		return fault.Failedf("%s %s of the %s that machines may take, and %s would take %s", machinesTake(others), mib(taken), mib(x.Memory), fault.Few(names), mib(need)).
			WithHint("%s", free)
	case x.Machines > 0 && others+len(more) > x.Machines:
		return fault.Failedf("%d of the %d machines that may be on are on; there is no room for %s", others, x.Machines, fault.Few(names)).
			WithHint("%s", free)
	}
	return nil
}

func machinesTake(n int) string {
	if n == 1 {
		return "1 machine takes"
	}
	return fmt.Sprintf("%d machines take", n)
}

// mib is a size for people.
func mib(n int) string {
	if n%1024 == 0 {
		return fmt.Sprintf("%d GiB", n/1024)
	}
	if n > 10<<10 {
		return fmt.Sprintf("%.1f GiB", float64(n)/1024)
	}
	return fmt.Sprintf("%d MiB", n)
}

// SetLimits changes what machines may take from now on; those that run go on.
func (l *Lab) SetLimits(x Limits) { l.limits.Store(&x) }

// Limits returns what machines may take.
func (l *Lab) Limits() Limits {
	if x := l.limits.Load(); x != nil {
		return *x
	}
	return Limits{}
}

// room is a fault when there is none for some devices, those that are machines, beside
// all others that are on, or are to be.
func (l *Lab) room(r state.Reader, more ...Device) error {
	wanted := map[ethernet.MAC]bool{}
	var machines []Device
	for _, d := range more {
		if d.Host == QEMU {
			machines, wanted[d.MAC] = append(machines, d), true
		}
	}
	if len(machines) == 0 {
		return nil
	}
	on, err := power.Machines(r)
	if err != nil {
		return err
	}
	others, taken := 0, 0
	for _, mac := range on {
		if wanted[mac] {
			continue
		}
		d, err := withMAC(r, mac)
		if err != nil {
			return err
		}
		others, taken = others+1, taken+d.Settings().mebibytes()
	}
	return unchanged(l.Limits().Check(others, taken, machines...))
}

// unchanged adds to a fault that it came before anything was done.
func unchanged(err error) error {
	if f := fault.As(err); f != nil {
		return fault.New(f.Kind, "%s; nothing changed", f.Msg).WithHint("%s", f.Hint)
	}
	return err
}

// Admit is a fault when there is no room for a virtual node that is to be switched on.
func (l *Lab) Admit(r state.Reader, mac ethernet.MAC) error {
	d, err := withMAC(r, mac)
	if err != nil {
		return err
	}
	return l.room(r, d)
}

// grown are those of the subjects that are machines, are on, and are to have more
// memory, or more processors, than before.
func (l *Lab) grown(r state.Reader, was []Device, subjects []*subject) (all []Device, err error) {
	for i, s := range subjects {
		is := s.Device
		if is.Host != QEMU || is.Settings().mebibytes() <= was[i].Settings().mebibytes() && is.Settings().CPUs() <= was[i].Settings().CPUs() {
			continue
		}
		off, err := l.Ports.IsOff(r, is.MAC)
		if err != nil {
			return nil, err
		}
		if !off {
			all = append(all, is)
		} else if err := unchanged(l.Limits().Check(0, 0, is)); err != nil { // it could never be switched on
			return nil, err
		}
	}
	return all, nil
}
