package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Arrival is what a device tells of itself when it asks for its address.
type Arrival struct {
	MAC   ethernet.MAC
	Model images.Model // "" when it does not tell
	Arch  Arch         // of its firmware; "" when that does not tell
	Host  string       // the name that it gives itself, any text; "" when it does not
}

const (
	// strangers is how many devices come by themselves at most before some of them have
	// booted: anybody on the network can be any number of them.
	strangers = 256
	// namesTried is how many names that may be taken are tried for one that comes.
	namesTried = 100
)

// Device returns the device with a MAC address, false when there is none.
func (l *Lab) Device(ctx context.Context, mac ethernet.MAC) (d Device, here bool, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		d, here, err = findMAC(r, mac)
		return err
	})
	return d, here, err
}

// Called returns the device with a name, false when there is none.
func (l *Lab) Called(ctx context.Context, n Name) (d Device, here bool, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		d, here, err = devices.Find(r, string(n))
		return err
	})
	return d, here, err
}

// Met is told of a device that asks for its address, and returns what the lab has it for.
// One that was never seen is registered, under the name that it gives itself when it can
// have that, and else under one of its MAC address. One that is known stays as it is,
// but gets the model that it lacked.
func (l *Lab) Met(ctx context.Context, a Arrival) (Device, error) {
	d, here, err := l.Device(ctx, a.MAC)
	if here {
		l.wakes(d)
		d = l.firmwareTells(ctx, d, a)
	}
	if err != nil || here && (a.Model == "" || d.Model != "" || d.Kind != Unknown) {
		return d, err
	}
	if here {
		return l.Register(ctx, journal.Server, Announcement{Name: d.Name, MAC: a.MAC, Model: a.Model, Stranger: true})
	}
	leave, err := l.entrance.enter(ctx, l)
	if err != nil {
		return Device{}, err
	}
	defer leave()
	name, err := l.nameFor(ctx, a)
	if err != nil {
		return Device{}, err
	}
	d, err = l.Register(ctx, journal.Server, Announcement{Name: name, MAC: a.MAC, Model: a.Model, Arch: a.Arch, Stranger: true})
	if err != nil { // perhaps it was quicker than itself, or somebody took the name: it asks again
		return Device{}, fmt.Errorf("register %s: %w", name, err)
	}
	return d, nil
}

// firmwareTells notes what kind of machine the firmware of a known device is for, when
// nobody knows: a device that told something else each time would have each written.
func (l *Lab) firmwareTells(ctx context.Context, d Device, a Arrival) Device {
	if a.Arch == "" || d.Arch() != "" || d.Virtual() {
		return d
	}
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		is, here, err := devices.Find(tx, string(d.Name))
		if err != nil || !here || is.MAC != a.MAC {
			return err
		}
		is.mark(func(m *Marks) { m.Arch = a.Arch })
		d = is
		return devices.Put(tx, string(d.Name), is)
	})
	if err != nil && ctx.Err() == nil {
		l.Log.Error("note what the firmware of a device is for", "device", d.Name, "err", err)
	}
	return d
}

// entrance counts the devices that are being registered: many may come at the same moment.
type entrance struct {
	mu     sync.Mutex
	inside int
}

// enter counts one more, until leave is called. It returns a fault when there are too many
// devices of which nothing is known.
func (e *entrance) enter(ctx context.Context, l *Lab) (leave func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, err := read(ctx, l.view, func() int { return len(l.view.which((*Device).strange)) })
	if err != nil {
		return nil, err
	}
	if n+e.inside >= strangers {
		return nil, fault.Failedf("%d devices are here already that came by themselves and have booted nothing", n+e.inside).
			WithHint("remove all of them with: device forget --unknown")
	}
	e.inside++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inside--
	}, nil
}

// sought are names that programs look for by themselves, and trust: their own host, who
// tells them a proxy (WPAD), a tunnel (RFC 5214). No device becomes one of them by saying so.
var sought = []string{"localhost", "wpad", "isatap"}

// nameFor is a name for a device that comes, which nothing is called.
func (l *Lab) nameFor(ctx context.Context, a Arrival) (Name, error) {
	wanted, err := ParseName(a.Host)
	if err != nil || slices.Contains(sought, string(wanted)) {
		wanted = automaticName(a)
	}
	return state.Read(ctx, l.Store, func(r state.Reader) (Name, error) {
		name := wanted
		for i := 2; i < namesTried; i++ {
			_, taken, err := devices.Find(r, string(name))
			if err != nil || !taken {
				return name, err
			}
			suffix := fmt.Sprintf("-%d", i)
			name = wanted[:min(len(wanted), longestName-len(suffix))] + Name(suffix)
		}
		return "", errors.New("all names for it are taken")
	})
}

// longestName is how many characters a name has at most.
const longestName = 63

// automaticName is what a device is called that has no name: by the family of its model,
// and the end of its MAC address, as in rpi-4f2a1c.
func automaticName(a Arrival) Name {
	family, _, _ := strings.Cut(string(a.Model), "-")
	if _, err := ParseName(family + "-0"); err != nil {
		family = "device"
	}
	digits := strings.ReplaceAll(string(a.MAC), ":", "")
	return Name(family + "-" + digits[len(digits)-6:])
}
