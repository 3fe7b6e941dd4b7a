package upgrade

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"walt/state"
)

// link is where a device is connected: in format 1 a part of its row.
type link struct {
	Switch string `json:"switch"`
	Number int    `json:"number"`
	ByHand bool   `json:"by_hand,omitempty"`
}

// order is what is to become of a port.
type order struct {
	Will   string    `json:"will"`
	Node   string    `json:"node,omitempty"` // for whose sake, in format 1
	Device string    `json:"device"`         // for whose sake, in format 2
	Since  time.Time `json:"since"`
	Cut    time.Time `json:"cut,omitzero"`
	Error  string    `json:"error,omitzero"`
}

// moveLink takes out of the row of a device where it is connected.
func moveLink(tx state.Tx, row state.Row) error {
	var d struct {
		MAC  string `json:"mac"`
		Port *link  `json:"port"`
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(row.Value, &d); err != nil || d.Port == nil {
		return err
	}
	if err := json.Unmarshal(row.Value, &fields); err != nil {
		return err
	}
	cables := map[string]int{} // the ports of the switch that devices are connected to, by their MACs
	if _, err := find(tx, "cables/"+d.Port.Switch, &cables); err != nil {
		return err
	}
	cables[d.MAC] = d.Port.Number
	delete(fields, "port")
	return errors.Join(put(tx, "cables/"+d.Port.Switch, cables), put(tx, "link/"+d.MAC, d.Port), put(tx, row.Key, fields))
}

// orderForMAC has an order tell the device by its MAC.
func orderForMAC(tx state.Tx, row state.Row) error {
	var o order
	if err := json.Unmarshal(row.Value, &o); err != nil || o.Node == "" {
		return err
	}
	var d device
	if _, err := find(tx, "device/"+o.Node, &d); err != nil {
		return err
	}
	o.Node, o.Device = "", d.MAC
	return put(tx, row.Key, o)
}

// byMAC moves the row of a node to another table, in which its MAC is the key;
// that of a node that is gone is dropped.
func byMAC(table string) func(state.Tx, state.Row) error {
	return func(tx state.Tx, row state.Row) error {
		_, name, _ := strings.Cut(row.Key, "/")
		var d device
		found, err := find(tx, "device/"+name, &d)
		if err == nil && found {
			err = tx.Put(table+d.MAC, row.Value)
		}
		return errors.Join(err, tx.Delete(row.Key))
	}
}

func find(r state.Reader, key string, into any) (found bool, err error) {
	row, err := r.Get(key)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(row, into)
}

func put(tx state.Tx, key string, v any) error {
	row, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Put(key, row)
}
