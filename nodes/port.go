package nodes

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"walt/ethernet"
	"walt/state"
)

// Port is a port of a switch.
type Port struct {
	Switch ethernet.MAC `json:"switch"` // which outlives the switch's name
	Number int          `json:"number"`
	// ByHand says that a user told it: only a user changes it.
	ByHand bool `json:"by_hand,omitempty"`
}

func (p Port) key() string { return fmt.Sprintf("%s/%d", p.Switch, p.Number) }

// plugs has a row for each device that hangs on a port, under Port.key and its
// MAC, so that those of one port are found.
var plugs = state.NewTable[bool]("plug")

func plug(p Port, d Device) string { return p.key() + "/" + string(d.MAC) }

// plugged returns the MACs of the devices that hang on a port.
func plugged(r state.Reader, p Port) (all []ethernet.MAC, err error) {
	for key, err := range plugs.Keys(r, p.key()+"/") {
		if err != nil {
			return nil, err
		}
		all = append(all, ethernet.MAC(key[len(p.key())+1:]))
	}
	return all, nil
}

// portOf is the port of a key.
func portOf(key string) Port {
	mac, number, _ := strings.Cut(key, "/")
	n, _ := strconv.Atoi(number) // written by key
	return Port{Switch: ethernet.MAC(mac), Number: n}
}

// control reports whether the server may work the port that powers a node. One
// that several devices share leads to something else, which powers them.
func control(r state.Reader, d Device) (bool, error) {
	if d.Kind != Node || d.Port.Switch == "" {
		return false, nil
	}
	sw, err := switches.Get(r, string(d.Port.Switch))
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil || !sw.PoE {
		return false, err
	}
	sharing, err := plugged(r, d.Port)
	return len(sharing) == 1, err
}
