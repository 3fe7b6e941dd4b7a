package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unique"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/power"
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
	// Reports is the model that a board says that it is, when that is another one.
	Reports images.Model `json:"reports,omitempty"`
	// Stranger says that it came by itself, and has booted nothing yet.
	Stranger bool `json:"stranger,omitempty"`
	// Told says that a user set its model: what it reports does not change that.
	Told bool `json:"told,omitempty"`

	// Image is what the node boots; only enroll and assign set it. It is the one record
	// of ownership. The zero Ref unless Kind is Node.
	Image images.Ref `json:"image,omitzero"`
	Since time.Time  `json:"since,omitzero"` // when the owner last changed, UTC

	// Booted and Digest are what the node took at its last start. While they
	// differ from Image and its digest, a reboot is due.
	Booted images.Ref `json:"booted,omitzero"`
	Digest string     `json:"digest,omitempty"`

	Own *Settings `json:"settings,omitempty"` // see Settings; most have none, which takes no memory

	Said  *Remarks `json:"remarks,omitempty"` // by the owner, see Remarks; only assignImage ends them
	Marks *Marks   `json:"marks,omitempty"`   // see Marks

	traits unique.Handle[Traits] // of a record of the view
}

var (
	// devices, by name. A transaction that has seen all of them conflicts with new
	// ones too.
	devices = state.NewTable[Device]("device").Guarded(0)
	macs    = state.NewTable[Name]("mac") // of each device, so that none is there twice
)

// strange reports whether nothing shows that a device is one of the lab, and not just
// what somebody on the network pretends to be.
func (d *Device) strange() bool {
	return d.Stranger && (d.Kind != Node || d.Free()) || d.Kind == Unknown && d.Model == ""
}

// waitsFor is the model for whose default image a device waits; "" when it does not.
func (d *Device) waitsFor() images.Model {
	if d.Kind == Unknown {
		return d.Model
	}
	return d.Becomes()
}

// put writes a device that is new, has a new name, or became a node.
func put(tx state.Tx, d Device) error {
	if d.Host == QEMU {
		if err := power.AddMachine(tx, d.MAC); err != nil {
			return err
		}
	}
	return errors.Join(devices.Put(tx, string(d.Name), d), macs.Put(tx, string(d.MAC), d.Name), index(tx, d))
}

// remove deletes a device from under its name.
func remove(tx state.Tx, d Device) error {
	return errors.Join(devices.Delete(tx, string(d.Name)), macs.Delete(tx, string(d.MAC)), unindex(tx, d))
}

// everything returns all devices, in no useful order. A transaction that calls
// it conflicts with any change of them, and with new ones.
func everything(r state.Reader) ([]Device, error) { return devices.All(r, "") }

// inOrder returns the devices in natural order. It sorts pointers: moving ten
// thousand records about takes longer than reading them.
func inOrder(ds []Device) []Device {
	sorted := pointers(ds)
	slices.SortFunc(sorted, naturally)
	return values(sorted)
}

func pointers(ds []Device) []*Device {
	all := make([]*Device, len(ds))
	for i := range ds {
		all[i] = &ds[i]
	}
	return all
}

func values(ds []*Device) []Device {
	all := make([]Device, len(ds))
	for i, d := range ds {
		all[i] = *d
	}
	return all
}

// get returns one device by its name, or a fault with near misses.
func get(r state.Reader, name Name) (Device, error) {
	d, found, err := devices.Find(r, string(name))
	if err == nil && !found {
		err = unknown(r, "device", []string{string(name)})
	}
	return d, err
}

// withMAC returns the device with an address; the error is state.ErrNotFound when there is none.
func withMAC(r state.Reader, mac ethernet.MAC) (Device, error) {
	name, err := macs.Get(r, string(mac))
	if err != nil {
		return Device{}, err
	}
	return devices.Get(r, string(name))
}

// findMAC is withMAC, with false when there is none.
func findMAC(r state.Reader, mac ethernet.MAC) (d Device, here bool, err error) {
	name, here, err := macs.Find(r, string(mac))
	if err != nil || !here {
		return d, false, err
	}
	d, err = devices.Get(r, string(name))
	return d, err == nil, err
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
	// QEMU is the kind of nodes that are machines on the server.
	QEMU HostKind = "qemu"
)

// Host runs the virtual nodes of one kind.
type Host interface {
	// Start powers a node on, or cuts its power and powers it on again. It
	// returns at once; the node asks Lab.Boot what to boot, and of one that
	// cannot boot Lab.Failed is told. An error says that the host cannot even
	// begin: the node is off.
	Start(Name) error
	// Resume finds a node that went on while no server was there, and goes on with
	// it. It reports whether there was one.
	Resume(context.Context, Name) bool
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
	if *k = HostKind(text); *k != Physical && *k != Simulated && *k != QEMU {
		return fmt.Errorf("unknown host %q", text)
	}
	return nil
}

// Virtual reports whether the server itself runs the device.
func (d Device) Virtual() bool { return d.Host != Physical }

// littleMemory says that a machine has less memory than many kernels need, which then end
// before they tell anything; "" for other devices.
func (d Device) littleMemory() string {
	if d.Host != QEMU || d.Settings().Memory() >= 128<<20 {
		return ""
	}
	return fmt.Sprintf(": %dM of memory is less than many kernels need; see the setting ram", d.Settings().Memory()>>20)
}

// lasts reports whether the device goes on when the server ends.
func (d Device) lasts() bool { return d.Host != Simulated }

// Name is the valid name of a device: a hostname in lower case.
type Name string

// keywords are the node sets that have a name; no device can be called so.
var keywords = []string{"my-nodes", "free-nodes", "all-nodes", "all-switches", "all-devices", "explorable-switches", serverKeyword}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// ParseName checks the form of a device's name: 2 to 63 letters, digits or "-",
// first a letter, not ending in "-", and no keyword of device sets. Upper case
// is folded, as in hostnames.
func ParseName(s string) (Name, error) {
	name := strings.ToLower(s)
	if !nameForm.MatchString(name) {
		return "", fault.Usagef("invalid device name %q", s).
			WithHint("a name is 2 to 63 letters, digits or -, first a letter, and does not end in -")
	}
	if slices.Contains(keywords, name) {
		return "", fault.Usagef("the name %q is a keyword of device sets", s).
			WithHint("choose another name (see: help show device-sets)")
	}
	return Name(name), nil
}

// Compare orders names in natural sort order, the way people count: rpi-2 is
// before rpi-10.
func (n Name) Compare(other Name) int {
	s, t := string(n), string(other)
	same := 0
	for same < len(s) && same < len(t) && s[same] == t[same] {
		same++
	}
	for same > 0 && isDigit(s[same-1]) { // a number is compared as a whole
		same--
	}
	s, t = s[same:], t[same:]
	for s != "" && t != "" {
		i, j := digits(s), digits(t)
		if i == 0 || j == 0 {
			if s[0] != t[0] {
				return cmp.Compare(s[0], t[0])
			}
			s, t = s[1:], t[1:]
			continue
		}
		x, y := strings.TrimLeft(s[:i], "0"), strings.TrimLeft(t[:j], "0")
		if x != y {
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}
		s, t = s[i:], t[j:]
	}
	return cmp.Or(cmp.Compare(len(s), len(t)), cmp.Compare(n, other))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits counts the digits that s begins with.
func digits(s string) int {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return i
		}
	}
	return len(s)
}

// IsKeyword reports whether s is a keyword of device sets.
func IsKeyword(s string) bool { return slices.Contains(keywords, s) }

// Keywords returns the keywords of device sets.
func Keywords() []string { return slices.Clone(keywords) }
