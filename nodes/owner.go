package nodes

import (
	"walt/auth"
	"walt/consent"
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
