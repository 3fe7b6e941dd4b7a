package nodes

import (
	"errors"
	"slices"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
	"walt/state"
)

// Owner is the user whose image the node boots; auth.Nobody owns what is free.
func (d Device) Owner() auth.Name { return d.Image.User }

// Free reports whether nobody owns the node: it boots a default image. Show,
// sets and acquire all ask here.
func (d Device) Free() bool { return d.Image.User == auth.Nobody }

// contested reports whether the node belongs to somebody else than the user.
func (d Device) contested(user auth.Name) bool {
	return d.Kind == Node && !d.Free() && d.Owner() != user
}

// claims lists those of the devices that belong to others than the user.
func claims(ds []Device, user auth.Name) (all []consent.Claim) {
	for _, d := range ds {
		if d.contested(user) {
			all = append(all, d.claim())
		}
	}
	return all
}

// claimsOn lists the nodes of others that whatever is done to the devices disturbs:
// those of them that are such nodes, and nodes on the ports of those that are switches.
func (l *Lab) claimsOn(r state.Reader, ds []Device, user auth.Name) ([]consent.Claim, error) {
	all := claims(ds, user)
	for _, d := range ds {
		carried, err := l.carried(r, d)
		if err != nil {
			return nil, err
		}
		more, err := l.claimsBeside(r, d, carried, user, all)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// claimsBeside lists those of the nodes that belong to others and depend on what is
// done to a device, except those that are listed already.
func (l *Lab) claimsBeside(r state.Reader, d Device, nodes []Device, user auth.Name, listed []consent.Claim) (more []consent.Claim, err error) {
	for _, n := range nodes {
		if !n.contested(user) || slices.ContainsFunc(listed, func(c consent.Claim) bool { return c.Node == string(n.Name) }) {
			continue
		}
		c := n.claim()
		c.Of = string(d.Name)
		if c.Where, err = l.Ports.Where(r, n.MAC); err != nil {
			return nil, err
		}
		more = append(more, c)
	}
	return more, nil
}

// carried returns the devices on the ports of a switch, in natural order; none of
// any other device.
func (l *Lab) carried(r state.Reader, sw Device) ([]Device, error) {
	if sw.Kind != Switch {
		return nil, nil
	}
	connected, err := l.Ports.Connected(r, sw.MAC, 0)
	if err != nil {
		return nil, err
	}
	return l.withMACs(r, connected)
}

// withMACs returns the devices with these addresses, in natural order.
func (l *Lab) withMACs(r state.Reader, addresses []ethernet.MAC) ([]Device, error) {
	var found []Device
	for _, mac := range addresses {
		name, known, err := macs.Find(r, string(mac))
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		d, err := devices.Get(r, string(name))
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return which(found, func(Device) bool { return true }), nil
}

// claim is the device as its owner's consent is asked about.
func (d Device) claim() consent.Claim {
	return consent.Claim{Node: string(d.Name), Owner: d.Owner(), Since: d.Since}
}

// owners is an index: the model of each node under its owner and its name, with
// auth.Nobody as the owner of those that are free. It says nothing that the
// devices do not say; whatever makes a device a node, gives it another image or
// another name, or removes it, writes both. A transaction that has listed the
// nodes of one owner conflicts with whatever changes which these are.
var owners = state.NewTable[images.Model]("owner").Guarded(1)

func ownedKey(owner auth.Name, n Name) string { return string(owner) + "/" + string(n) }

// index adds a node to those of its owner; other devices have none.
func index(tx state.Tx, d Device) error {
	if d.Kind != Node {
		return nil
	}
	return owners.Put(tx, ownedKey(d.Owner(), d.Name), d.Model)
}

// unindex takes a node from those of its owner.
func unindex(tx state.Tx, d Device) error {
	if d.Kind != Node {
		return nil
	}
	return owners.Delete(tx, ownedKey(d.Owner(), d.Name))
}

// reindex follows a node to another owner.
func reindex(tx state.Tx, was, is Device) error {
	if was.Owner() == is.Owner() {
		return nil
	}
	return errors.Join(unindex(tx, was), index(tx, is))
}

// ownedBy returns the nodes of a user, or of auth.Nobody the free ones, in
// natural order.
func ownedBy(r state.Reader, owner auth.Name) ([]Device, error) {
	var all []Device
	for key, err := range owners.Keys(r, ownedKey(owner, ""), "") {
		if err != nil {
			return nil, err
		}
		d, err := devices.Get(r, key[len(owner)+1:])
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return which(all, func(Device) bool { return true }), nil
}

// booting returns the nodes that boot an image, in natural order: they are all of
// the image's user.
func booting(r state.Reader, ref images.Ref) ([]Device, error) {
	all, err := ownedBy(r, ref.User)
	return slices.DeleteFunc(all, func(d Device) bool { return d.Image != ref }), err
}
