package nodes

import (
	"context"
	"time"
	"unique"

	"walt/images"
	"walt/power"
)

// Traits are what many devices have in common.
type Traits struct {
	Kind  Kind
	Model images.Model
	Host  HostKind
	Image images.Ref

	Retired bool
}

// Device returns a device that has the traits, and nothing else.
func (t Traits) Device() Device {
	return Device{Kind: t.Kind, Model: t.Model, Host: t.Host, Image: t.Image}
}

// brief is what a list of many asks of each device. These lie side by side, while each
// record that is asked is another place in memory to wait for. The zero brief is of none.
type brief struct {
	device *Device
	name   Name
	traits unique.Handle[Traits]
	since  int64    // nanoseconds since 1970, 0 for the zero time
	said   *Remarks // nil: nothing
}

// brief returns that of a record of the view, the zero one of nil.
func (d *Device) brief() brief {
	if d == nil {
		return brief{}
	}
	b := brief{device: d, name: d.Name, traits: d.traits, said: d.Said}
	if !d.Since.IsZero() {
		b.since = d.Since.UnixNano()
	}
	return b
}

func briefs(ds []*Device) []brief {
	all := make([]brief, len(ds))
	for i, d := range ds {
		all[i] = d.brief()
	}
	return all
}

// Glance is what tables of many nodes show of one.
type Glance struct {
	Name   Name
	Traits unique.Handle[Traits] // the same for many, so that what is made of them can be kept
	Since  time.Time             // when its owner last changed, UTC
	State  State
	Failed bool   // it could not boot, see Status
	Why    string // it is in its state, in words for users; "" when there is nothing to say

	Said *Remarks // of its owner, not to be changed; nil: none

	device *Device
	at     uint32 // its index in its List
	ip     int    // how long its IP address is, in characters
}

// Doing returns what the node does, and why, as far as a table tells it.
func (n *Glance) Doing() (Name, Status) {
	return n.Name, Status{State: n.State, Failed: n.Failed, Why: n.Why}
}

// OutOfService returns why the node is retired, nil when it is not.
func (n *Glance) OutOfService() *Retired {
	if !n.Traits.Value().Retired { // to look into the record takes longer
		return nil
	}
	return n.device.Retired()
}

// OutOfService returns why the device is retired, nil when it is not.
func (n *DeviceStatus) OutOfService() *Retired { return n.Retired() }

// Doing returns what the device does, and why.
func (n *DeviceStatus) Doing() (Name, Status) { return n.Name, n.Status }

func (b brief) glance(at uint32) Glance {
	g := Glance{Name: b.name, Traits: b.traits, Said: b.said, device: b.device, at: at}
	if b.since != 0 {
		g.Since = time.Unix(0, b.since).UTC()
	}
	return g
}

// addGlances adds to nodes what they are doing.
func (l *Lab) addGlances(ctx context.Context, all []Glance) error {
	l.status.glance(all)
	return l.Ports.Wiring(ctx, func(w power.Wiring) {
		if w.Quiet() {
			return
		}
		for i := range all {
			n := &all[i]
			if why, off := w.Off(n.device.MAC); off {
				s := offStatus(why)
				n.State, n.Failed, n.Why, n.ip = s.State, false, s.Why, 0
			}
		}
	})
}

// glance adds what nodes are doing.
func (b *board) glance(all []Glance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range all {
		n := &all[i]
		if s := b.all[n.Name]; s != nil {
			n.State, n.Failed, n.Why, n.ip = s.State, s.Failed, s.Why, len(s.IP())
		} else {
			n.State = Off
		}
	}
}
