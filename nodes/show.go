package nodes

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
	"walt/power"
	"walt/state"
)

// DeviceStatus is a device and what it is doing now.
type DeviceStatus struct {
	*Device
	Status
	Port     power.Port // that it is connected to, as far as known
	Switch   Name       // that Port is of, "" without one
	PortName string     // that the switch calls Port, of devices; "" when that is not known
}

// Running is what runs on a node, which may be something else than what it is to boot.
type Running struct {
	Image  images.Ref // the zero Ref: the name that it had is not known any more
	Digest string
}

// Running returns what runs on the node, as far as it told; the zero Running when
// nothing does, or it is not known what.
func (n DeviceStatus) Running() Running {
	switch {
	case n.runs == "":
		return Running{}
	case n.runs == n.Device.Digest:
		return Running{n.Booted, n.runs}
	}
	return Running{Digest: n.runs}
}

// Show returns the nodes of the set.
func (l *Lab) Show(ctx context.Context, user auth.Name, set Set) ([]DeviceStatus, error) {
	return l.show(ctx, user, set, nodeScope)
}

// Mine returns the nodes that the user owns; there may be none.
func (l *Lab) Mine(ctx context.Context, user auth.Name) ([]DeviceStatus, error) {
	return l.pick(ctx, nodeScope, func() []*Device { return slices.Clone(l.view.owned[user]) })
}

// All returns every node.
func (l *Lab) All(ctx context.Context) ([]DeviceStatus, error) {
	return l.pick(ctx, nodeScope, func() []*Device { return l.view.which(func(d *Device) bool { return d.Kind == Node }) })
}

// Named returns the devices of these names that there are, in the order of the
// names.
func (l *Lab) Named(ctx context.Context, names []Name) ([]DeviceStatus, error) {
	return l.pick(ctx, deviceScope, func() (ds []*Device) {
		for _, name := range names {
			if d := l.view.named[name]; d != nil {
				ds = append(ds, d)
			}
		}
		return ds
	})
}

// Devices returns the devices of the set, and whether the set names the server,
// which is none of them.
func (l *Lab) Devices(ctx context.Context, user auth.Name, set Set) (found []DeviceStatus, server bool, err error) {
	rest := Set{slices.DeleteFunc(slices.Clone(set.terms), func(term string) bool { return term == serverKeyword })}
	server = len(rest.terms) < len(set.terms)
	if server && len(rest.terms) == 0 {
		return nil, true, nil
	}
	found, err = l.show(ctx, user, rest, deviceScope)
	return found, server, err
}

// AllDevices returns every device.
func (l *Lab) AllDevices(ctx context.Context) ([]DeviceStatus, error) {
	return l.pick(ctx, deviceScope, func() []*Device { return slices.Clone(l.view.all) })
}

func (l *Lab) show(ctx context.Context, user auth.Name, set Set, sc scope) ([]DeviceStatus, error) {
	return state.Read(ctx, l.Store, func(r state.Reader) ([]DeviceStatus, error) {
		ds, err := set.expand(seen{r, ctx, l.view}, user, sc)
		if err != nil {
			return nil, err
		}
		return l.describe(r, pointers(ds), sc)
	})
}

// pick returns devices of the view, described as it is asked for.
func (l *Lab) pick(ctx context.Context, sc scope, some func() []*Device) ([]DeviceStatus, error) {
	ds, err := read(ctx, l.view, some)
	if err != nil {
		return nil, err
	}
	return state.Read(ctx, l.Store, func(r state.Reader) ([]DeviceStatus, error) { return l.describe(r, ds, sc) })
}

// describe adds to devices what is shown of nodes, or of any devices.
func (l *Lab) describe(r state.Reader, ds []*Device, sc scope) ([]DeviceStatus, error) {
	all, err := l.withStatus(r, ds)
	if err == nil && sc == deviceScope {
		err = namePorts(r, l.Ports, all)
	}
	return all, err
}

// namePorts adds to devices the names of the ports that they are connected to.
func namePorts(r state.Reader, ports *power.Ports, all []DeviceStatus) (err error) {
	named := map[ethernet.MAC]map[int]string{}
	for i, d := range all {
		if d.Port.IsZero() {
			continue
		}
		if named[d.Port.Switch] == nil {
			if named[d.Port.Switch], err = ports.PortNames(r, d.Port.Switch); err != nil {
				return err
			}
		}
		all[i].PortName = named[d.Port.Switch][d.Port.Number]
	}
	return nil
}

func pointers(ds []Device) []*Device {
	all := make([]*Device, len(ds))
	for i := range ds {
		all[i] = &ds[i]
	}
	return all
}

// withStatus adds to devices what they are doing and where they are connected.
func (l *Lab) withStatus(r state.Reader, ds []*Device) ([]DeviceStatus, error) {
	shown := make([]ethernet.MAC, len(ds))
	for i, d := range ds {
		shown[i] = d.MAC
	}
	wiring, err := l.Ports.Wiring(r, shown)
	if err != nil {
		return nil, err
	}
	switchNames := map[ethernet.MAC]Name{}
	all := make([]DeviceStatus, len(ds))
	for i, d := range ds {
		all[i] = DeviceStatus{Device: d, Status: l.status.of(d.Name), Port: wiring.Port(d.MAC)}
		if d.Kind == Switch {
			if all[i].Status, err = l.ofSwitch(r, *d); err != nil {
				return nil, err
			}
		}
		on := all[i].Port.Switch
		if on == "" {
			continue
		}
		if since, off := wiring.OffSince(d.MAC); off && d.Kind == Node {
			all[i].Status = Status{State: Powersave, Heard: since}
		}
		if _, known := switchNames[on]; !known {
			name, _, err := macs.Find(r, string(on))
			if err != nil {
				return nil, err
			}
			switchNames[on] = name
		}
		all[i].Switch = switchNames[on]
	}
	return all, nil
}

// Names returns the names that begin with the prefix, of devices of one kind or of
// all when it is "", in the order of bytes: for completion.
func (l *Lab) Names(ctx context.Context, kind Kind, prefix string) ([]string, error) {
	return read(ctx, l.view, func() (names []string) {
		from, _ := slices.BinarySearchFunc(l.view.keyed, &Device{Name: Name(prefix)}, byKey)
		for _, d := range l.view.keyed[from:] {
			if !strings.HasPrefix(string(d.Name), prefix) {
				break
			}
			if kind == "" || d.Kind == kind {
				names = append(names, string(d.Name))
			}
		}
		return names
	})
}

// Models returns the models of the nodes that are here, each once, in order.
func (l *Lab) Models(ctx context.Context) ([]images.Model, error) {
	return read(ctx, l.view, func() []images.Model { return slices.Sorted(maps.Keys(l.view.models)) })
}

// IP is the address of the node, "" when it is not known.
func (n DeviceStatus) IP() string {
	if host, _, err := net.SplitHostPort(n.Addr); err == nil {
		return host
	}
	return ""
}

// Reasons returns why those of the nodes that are in the given state are in it, the
// names of those with the same reason together.
func Reasons(all []DeviceStatus, in State) (reasons []Reason) {
	for _, n := range all {
		if n.State != in || n.Status.Why == "" {
			continue
		}
		i := slices.IndexFunc(reasons, func(r Reason) bool { return r.Why == n.Status.Why })
		if i < 0 {
			i, reasons = len(reasons), append(reasons, Reason{Why: n.Status.Why})
		}
		reasons[i].Nodes = append(reasons[i].Nodes, string(n.Name))
	}
	return reasons
}

// Reason is why nodes are in the state that they are in, in words for users.
type Reason struct {
	Nodes []string
	Why   string
}

// NodesWithConsent returns the nodes of the set, for something that disturbs the
// owners of contested ones: a *consent.Error unless the user agreed to that.
func (l *Lab) NodesWithConsent(ctx context.Context, user auth.Name, set Set, given consent.Agreement) (found []DeviceStatus, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		ds, err := set.expand(stored{r}, user, nodeScope)
		if err != nil {
			return err
		}
		if found, err = l.withStatus(r, pointers(ds)); err != nil {
			return err
		}
		return given.Check(claims(ds, user))
	})
	return found, err
}
