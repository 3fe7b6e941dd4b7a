package nodes

import (
	"slices"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/power"
	"walt/state"
)

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

// claimsToUse lists those of the devices that belong to others than the user who do not share
// them with the user: before they are used, which changes nothing of whose they are.
func claimsToUse(ds []Device, user auth.Name) (all []consent.Claim) {
	for _, d := range ds {
		if d.contested(user) && !d.sharedWith(user) {
			all = append(all, d.claim())
		}
	}
	return all
}

// claimsOn lists the nodes of others that whatever is done to the devices disturbs:
// those of them that are such nodes, and nodes on the ports of those that are switches.
func claimsOn(r state.Reader, ports *power.Ports, ds []Device, user auth.Name) ([]consent.Claim, error) {
	all := claims(ds, user)
	for _, d := range ds {
		there, err := carried(r, ports, d)
		if err != nil {
			return nil, err
		}
		more, err := claimsBeside(r, ports, d, there, user, all)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// claimsBeside lists those of the nodes that belong to others and depend on what is
// done to a device, except those that are listed already.
func claimsBeside(r state.Reader, ports *power.Ports, d Device, nodes []Device, user auth.Name, listed []consent.Claim) (more []consent.Claim, err error) {
	for _, n := range nodes {
		if !n.contested(user) || slices.ContainsFunc(listed, func(c consent.Claim) bool { return c.Node == string(n.Name) }) {
			continue
		}
		c := n.claim()
		c.Of = string(d.Name)
		if c.Where, err = ports.Where(r, n.MAC); err != nil {
			return nil, err
		}
		more = append(more, c)
	}
	return more, nil
}

// carried returns the devices on the ports of a switch, in natural order; none of
// any other device.
func carried(r state.Reader, ports *power.Ports, sw Device) ([]Device, error) {
	if sw.Kind != Switch {
		return nil, nil
	}
	connected, err := ports.Connected(r, sw.MAC, 0)
	if err != nil {
		return nil, err
	}
	return withMACs(r, connected)
}

// withMACs returns the devices with these addresses, in natural order.
func withMACs(r state.Reader, addresses []ethernet.MAC) ([]Device, error) {
	var found []Device
	for _, mac := range addresses {
		d, known, err := findMAC(r, mac)
		if err != nil {
			return nil, err
		}
		if known {
			found = append(found, d)
		}
	}
	return inOrder(found), nil
}

// claim is the device as its owner's consent is asked about.
func (d Device) claim() consent.Claim {
	return consent.Claim{Node: string(d.Name), Owner: d.Owner(), Since: d.Since, Note: d.Remarks().Note}
}
