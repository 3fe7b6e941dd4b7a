package nodes

import (
	"context"
	"maps"
	"net"
	"slices"

	"walt/auth"
	"walt/consent"
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
func (l *Lab) Show(ctx context.Context, user auth.Name, set Set) (List, error) {
	return l.show(ctx, user, set, nodeScope)
}

// Mine returns the nodes that the user owns; there may be none.
func (l *Lab) Mine(ctx context.Context, user auth.Name) (List, error) {
	return l.list(ctx, nodeScope, func() []*Device { return l.view.owned[user] })
}

// All returns every node.
func (l *Lab) All(ctx context.Context) (List, error) {
	return l.listAll(ctx, nodeScope, Node)
}

// Named returns the devices of these names that there are, in the order of the
// names.
func (l *Lab) Named(ctx context.Context, names []Name) ([]DeviceStatus, error) {
	found, err := l.list(ctx, deviceScope, func() (ds []*Device) {
		for _, name := range names {
			if d := l.view.named[name]; d != nil {
				ds = append(ds, d)
			}
		}
		return ds
	})
	if err != nil {
		return nil, err
	}
	return found.Now(ctx)
}

// Devices returns the devices of the set, and whether the set names the server,
// which is none of them.
func (l *Lab) Devices(ctx context.Context, user auth.Name, set Set) (found List, server bool, err error) {
	rest, server := set.without(serverKeyword)
	if rest.IsZero() {
		return List{}, true, nil
	}
	found, err = l.show(ctx, user, rest, deviceScope)
	return found, server, err
}

// AllDevices returns every device.
func (l *Lab) AllDevices(ctx context.Context) (List, error) {
	return l.listAll(ctx, deviceScope, "")
}

func (l *Lab) show(ctx context.Context, user auth.Name, set Set, sc scope) (List, error) {
	if kind, all := set.all(sc); all {
		if found, err := l.listAll(ctx, sc, kind); err != nil || found.Len() > 0 {
			return found, err
		}
	}
	all, err := l.list(ctx, sc, func() []*Device { return nil })
	if err != nil {
		return all, err
	}
	err = l.Store.View(ctx, func(r state.Reader) error {
		found, err := set.find(seen{place{ctx, l, r}}, user, sc)
		all.hold(found)
		return err
	})
	return all, err
}

// Names returns the names that begin with the prefix, of devices of one kind or of
// all when it is "", in the order of bytes: for completion.
func (l *Lab) Names(ctx context.Context, kind Kind, prefix string) ([]string, error) {
	return read(ctx, l.view, func() (names []string) {
		found := l.view.under(prefix)
		names = make([]string, 0, len(found)) // growing it would leave several times as much garbage
		for _, d := range found {
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
func (n *Status) IP() string {
	if n.Addr == "" { // of which net makes an error, with care
		return ""
	}
	if host, _, err := net.SplitHostPort(n.Addr); err == nil {
		return host
	}
	return ""
}

// reasonsOf returns why those of the nodes that are in the given state are in it, as far as
// that is known, the names of those with the same reason together.
func reasonsOf(all []DeviceStatus, in State) (reasons []Reason) {
	for i := range all {
		n := &all[i]
		why := n.Status.Why
		if n.State != in || why == "" {
			continue
		}
		reasons = withReason(reasons, n.Name, why)
	}
	return reasons
}

// withReason returns the reasons with that of one more node.
func withReason(reasons []Reason, n Name, why string) []Reason {
	same := slices.IndexFunc(reasons, func(r Reason) bool { return r.Why == why })
	if same < 0 {
		same, reasons = len(reasons), append(reasons, Reason{Why: why})
	}
	reasons[same].Nodes = append(reasons[same].Nodes, string(n))
	return reasons
}

// Reason is why nodes are in the state that they are in, in words for users.
type Reason struct {
	Nodes []string
	Why   string
}

// NodesWithConsent returns the nodes of the set, for something that disturbs the
// owners of contested ones but not whose they are: a *consent.Error unless the user agreed to
// that, or they share the nodes with the user.
func (l *Lab) NodesWithConsent(ctx context.Context, user auth.Name, set Set, given consent.Agreement) (found []DeviceStatus, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		ds, err := set.expand(l.stored(ctx, r), user, nodeScope)
		if err != nil {
			return err
		}
		if found, err = l.statusOf(ctx, pointers(ds)); err != nil {
			return err
		}
		return given.Check(claimsToUse(ds, user))
	})
	return found, err
}
