package nodes

import (
	"errors"
	"fmt"
	"slices"
	"time"

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

	// Image is what the node boots; only enroll and assign set it. It is the one record
	// of ownership. The zero Ref unless Kind is Node.
	Image images.Ref `json:"image,omitzero"`
	Since time.Time  `json:"since,omitzero"` // when the owner last changed, UTC

	// Booted and Digest are what the node took at its last start. While they
	// differ from Image and its digest, a reboot is due.
	Booted images.Ref `json:"booted,omitzero"`
	Digest string     `json:"digest,omitempty"`

	Settings Settings `json:"settings,omitzero"`
}

var (
	// devices, by name. A transaction that has seen all of them conflicts with new
	// ones too.
	devices = state.NewTable[Device]("device").Guarded(0)
	macs    = state.NewTable[Name]("mac") // of each device, so that none is there twice
)

// put writes a device that is new, has a new name, or became a node.
func put(tx state.Tx, d Device) error {
	return errors.Join(devices.Put(tx, string(d.Name), d), macs.Put(tx, string(d.MAC), d.Name), index(tx, d))
}

// remove deletes a device from under its name.
func remove(tx state.Tx, d Device) error {
	return errors.Join(devices.Delete(tx, string(d.Name)), macs.Delete(tx, string(d.MAC)), unindex(tx, d))
}

// everything returns all devices, in no useful order. A transaction that calls
// it conflicts with any change of them, and with new ones.
func everything(r state.Reader) ([]Device, error) { return devices.All(r, "") }

// which returns those of the devices that are wanted, in natural order. It sorts
// pointers: moving ten thousand records about takes longer than reading them.
func which(all []Device, wanted func(Device) bool) []Device {
	var found []*Device
	for i, d := range all {
		if wanted(d) {
			found = append(found, &all[i])
		}
	}
	slices.SortFunc(found, func(a, b *Device) int { return a.Name.Compare(b.Name) })
	sorted := make([]Device, len(found))
	for i, d := range found {
		sorted[i] = *d
	}
	return sorted
}

// get returns one device by its name, or a fault with near misses.
func get(r state.Reader, name Name) (Device, error) {
	d, found, err := devices.Find(r, string(name))
	if err == nil && !found {
		err = unknown(r, "device", []string{string(name)})
	}
	return d, err
}

// unknown is the fault for names that no device has.
func unknown(r state.Reader, noun string, names []string) error {
	known, err := devices.AllKeys(r, "")
	if err != nil {
		return err
	}
	return fault.Unknown(noun, names, append(known, keywords...), "see all devices with: device show")
}

// HostKind is what runs a device: hardware of its own, or the server.
type HostKind string

const (
	// Physical is the kind of devices of their own; power over Ethernet is all
	// that the server has in its hand, so there is no Host for them.
	Physical HostKind = ""
	// Simulated is the kind of nodes that the server imitates.
	Simulated HostKind = "simulated"
)

// Host runs the virtual nodes of one kind.
type Host interface {
	// Start powers a node on, or cuts its power and powers it on again. It
	// returns at once; the node asks Lab.Boot what to boot, and of one that
	// cannot boot Lab.Failed is told. An error says that the host cannot even
	// begin: the node is off.
	Start(Name) error
	// Stop cuts the power of a node and returns when it is off.
	Stop(Name)
}

func (k HostKind) String() string {
	if k == Physical {
		return "physical"
	}
	return string(k)
}

// UnmarshalText accepts the kinds that there are.
func (k *HostKind) UnmarshalText(text []byte) error {
	if *k = HostKind(text); *k != Physical && *k != Simulated {
		return fmt.Errorf("unknown host %q", text)
	}
	return nil
}

// Virtual reports whether the server itself runs the device.
func (d Device) Virtual() bool { return d.Host != Physical }
