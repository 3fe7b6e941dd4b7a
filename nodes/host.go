package nodes

import "fmt"

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
	// returns at once; the node asks Lab.Boot what to boot.
	Start(Name)
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
