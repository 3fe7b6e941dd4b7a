package nodes

import (
	"errors"
	"slices"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// Kind is what a device is.
type Kind string

const (
	Node    Kind = "node"    // boots OS images over the network
	Switch  Kind = "switch"  // forwards for others
	Unknown Kind = "unknown" // not known yet, or its default image is not here yet
)

// Device is the record of anything with a MAC address on the lab network.
type Device struct {
	Name  Name         `json:"name"`
	MAC   ethernet.MAC `json:"mac"`
	Kind  Kind         `json:"kind"`
	Model images.Model `json:"model,omitempty"` // "" until it announced one
	Host  HostKind     `json:"host,omitempty"`

	// Image is what the node boots; only enroll and boot set it. It is the one record
	// of ownership. The zero Ref unless Kind is Node.
	Image images.Ref `json:"image,omitzero"`
	Since time.Time  `json:"since,omitzero"` // when the owner last changed, UTC

	// Booted and Digest are what the node took at its last start. While they
	// differ from Image and its digest, a reboot is due.
	Booted images.Ref `json:"booted,omitzero"`
	Digest string     `json:"digest,omitempty"`

	Port     Port     `json:"port,omitzero"` // that it hangs on, as far as known
	Settings Settings `json:"settings,omitzero"`
}

// Owner is the user whose image the node boots; auth.Nobody owns what is free.
func (d Device) Owner() auth.Name { return d.Image.User }

// Free reports whether nobody owns the node: it boots a default image. Show,
// sets and acquire all ask here.
func (d Device) Free() bool { return d.Image.User == auth.Nobody }

// contested reports whether the node belongs to somebody else than the user.
func (d Device) contested(user auth.Name) bool {
	return d.Kind == Node && !d.Free() && d.Owner() != user
}

var (
	devices = state.NewTable[Device]("device")
	macs    = state.NewTable[Name]("mac") // of each device, so that none is there twice
	// crowd is a guard: whoever adds a device writes it, whoever relies on having
	// seen every device reads it.
	crowd = state.NewTable[Name]("crowd")
)

const crowdKey = "last"

// put writes a device that is new.
func put(tx state.Tx, d Device) error {
	if d.Port.Switch != "" { // it has another name now
		if err := plugs.Put(tx, plug(d.Port, d), true); err != nil {
			return err
		}
	}
	return errors.Join(devices.Put(tx, string(d.Name), d), macs.Put(tx, string(d.MAC), d.Name), crowd.Put(tx, crowdKey, d.Name))
}

// remove deletes a device.
func remove(tx state.Tx, d Device) error {
	return errors.Join(devices.Delete(tx, string(d.Name)), macs.Delete(tx, string(d.MAC)),
		plugs.Delete(tx, plug(d.Port, d)), used.Delete(tx, string(d.Name)), heard.Delete(tx, string(d.Name)))
}

// carry writes within tx what is known of a device under its old name under the
// new one. It is called before the old one is removed.
func carry(tx state.Tx, old, name Name) error {
	last, err := used.Get(tx, string(old))
	if err == nil {
		err = used.Put(tx, string(name), last)
	}
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	addr, err := heard.Get(tx, string(old))
	if err == nil {
		err = heard.Put(tx, string(name), addr)
	}
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	return err
}

// everything returns all devices, in no useful order. A transaction that calls
// it conflicts with any change of them, and with new ones.
func everything(r state.Reader) ([]Device, error) {
	if _, err := crowd.Get(r, crowdKey); err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	var all []Device
	for e, err := range devices.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		all = append(all, e.Value)
	}
	return all, nil
}

// which returns those of the devices that are wanted, in natural order. It sorts
// pointers: moving ten thousand records about takes longer than reading them.
func which(all []Device, wanted func(Device) bool) []Device {
	var found []*Device
	for i, d := range all {
		if wanted(d) {
			found = append(found, &all[i])
		}
	}
	slices.SortFunc(found, func(a, b *Device) int { return naturally(a.Name, b.Name) })
	sorted := make([]Device, len(found))
	for i, d := range found {
		sorted[i] = *d
	}
	return sorted
}

// get returns one device by its name, or a fault with near misses.
func get(r state.Reader, name Name) (Device, error) {
	d, err := devices.Get(r, string(name))
	if errors.Is(err, state.ErrNotFound) {
		return d, unknown(r, "device", []string{string(name)})
	}
	return d, err
}

// unknown is the fault for names that no device has.
func unknown(r state.Reader, noun string, names []string) error {
	var known []string
	for key, err := range devices.Keys(r, "") {
		if err != nil {
			return err
		}
		known = append(known, key)
	}
	return fault.Unknown(noun, names, append(known, keywords...), "see all devices with: device show")
}

// contested lists those of the devices that belong to others than the user.
func contested(ds []Device, user auth.Name) (all []consent.Contested) {
	for _, d := range ds {
		if d.contested(user) {
			all = append(all, d.shown())
		}
	}
	return all
}

// shown is the device as its owner's consent is asked about.
func (d Device) shown() consent.Contested {
	return consent.Contested{Node: string(d.Name), Owner: d.Owner(), Since: d.Since}
}
