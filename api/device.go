package api

import (
	"time"

	"walt/nodes"
)

// Devices is the document of "device show".
type Devices struct {
	Devices []Device `json:"devices"`
}

// Device is anything on the lab's network.
type Device struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`         // "server", "node", "switch" or "unknown"
	Model  *string `json:"model"`        // null: not known
	MAC    *string `json:"mac"`          // null: of the server
	IP     *string `json:"ip"`           // null: not known
	State  string  `json:"state"`        // of a node as in Node; of others a text for people
	Why    *string `json:"state_reason"` // of a node or switch as in Node; of the server, what is wrong on the network of boards and PCs
	Switch *string `json:"switch"`       // that it is connected to; null: not known
	Port   *int    `json:"port"`         // of that switch; null: not known
	// PortName is what that switch calls the port; null: not known.
	PortName *string `json:"port_name"`

	Step      *string    `json:"step"`       // as in Node, of what is no node yet, too
	StepSince *time.Time `json:"step_since"` // the same
	// Reports is the model that it says that it is, when that is another one; null: it does not.
	Reports *string `json:"reports_itself_as"`
	// Becomes is the model of which it will be when the default image of that is here; nil: of none.
	Becomes *string  `json:"becomes,omitempty"`
	Tags    []string `json:"tags"`    // as in Node, of any device
	Retired *Retired `json:"retired"` // as in Node
	// Test is what came of its last test, of a device that is asked for by its name alone; nil
	// when there was none.
	Test *Test `json:"test,omitempty"`
}

// NewDevice makes a device; state is what its State says.
func NewDevice(d *nodes.DeviceStatus, state string) Device {
	return Device{
		Name: string(d.Name), Type: string(d.Kind), Model: orNull(string(d.Model)), Reports: orNull(string(d.Reports)), Becomes: orNull(string(d.Becomes())), MAC: orNull(string(d.MAC)), IP: orNull(d.IP()),
		State: state, Why: wrong(d.Status), Switch: orNull(string(d.Switch)), Port: orNull(d.Port.Number), PortName: orNull(d.PortName),
		Step: orNull(d.Step.Word()), StepSince: orNull(d.StepSince), Tags: tags(d.Device), Retired: retired(d.Retired()),
	}
}

// ServerDevice is the server itself among the devices; wrong is what is wrong on its
// network, "" when nothing is.
func ServerDevice(ip, wrong string) Device {
	return Device{Name: "server", Type: "server", IP: orNull(ip), State: string(nodes.Up), Why: orNull(wrong), Tags: []string{}}
}
