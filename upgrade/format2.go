package upgrade

import (
	"bytes"
	"encoding/json"
	"strings"

	"walt/state"
)

// toFormat2 leads to format 2, in which
//   - the nodes of each user, and the free ones, have rows in a table of their own;
//   - devices name what hosts them, where they only said whether they are virtual;
//   - the store guards tables by itself, and rows that were guards are gone;
//   - what is known of the ports of switches, and of what is connected to them,
//     has the MACs of devices instead of their names, in tables of its own.
var toFormat2 = []step{
	{"device/", indexOwner},
	{"device/", nameHost},
	{"crowd/", drop},
	{"image-put/", drop},
	{"workingset/", drop},
	{"device/", moveLink},
	{"plug/", drop},
	{"order/", orderForMAC},
	{"used/", byMAC("last-use/")},
	{"heard/", byMAC("address/")},
}

// device is what the steps need of a device of format 1.
type device struct {
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	Kind  string `json:"kind"`
	Model string `json:"model"`
	Image string `json:"image"` // <user>/<name>:<tag>
}

// owners are the models of nodes, by <owner>/<name>.
var owners = state.NewTable[string]("owner")

// indexOwner adds a node to those of its owner, the user of its image.
func indexOwner(tx state.Tx, row state.Row) error {
	var d device
	if err := json.Unmarshal(row.Value, &d); err != nil {
		return err
	}
	if d.Kind != "node" {
		return nil
	}
	owner, _, _ := strings.Cut(d.Image, "/")
	return owners.Put(tx, owner+"/"+d.Name, d.Model)
}

// nameHost says of a virtual node that it is simulated: there was nothing else.
func nameHost(tx state.Tx, row state.Row) error {
	// No string within a row has quotes like these.
	named := bytes.Replace(row.Value, []byte(`"virtual":true`), []byte(`"host":"simulated"`), 1)
	if bytes.Equal(named, row.Value) {
		return nil
	}
	return tx.Put(row.Key, named)
}

func drop(tx state.Tx, row state.Row) error { return tx.Delete(row.Key) }
