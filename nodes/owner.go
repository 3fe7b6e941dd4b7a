package nodes

import (
	"errors"
	"math"
	"slices"

	"walt/auth"
	"walt/images"
	"walt/state"
)

// Owner is the user whose image the node boots; auth.Nobody owns what is free.
func (d Device) Owner() auth.Name { return d.Image.User }

// Free reports whether nobody owns the node: it boots a default image. Show,
// sets and acquire all ask here.
func (d Device) Free() bool { return d.Image.User == auth.Nobody }

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
	return firstOwnedBy(r, owner, math.MaxInt)
}

// firstOwnedBy returns the first of them, at most so many.
func firstOwnedBy(r state.Reader, owner auth.Name, most int) ([]Device, error) {
	var names []Name
	for key, err := range owners.Keys(r, ownedKey(owner, ""), "") {
		if err != nil {
			return nil, err
		}
		names = append(names, Name(key[len(owner)+1:]))
	}
	slices.SortFunc(names, Name.Compare)
	var all []Device
	for _, n := range names[:min(most, len(names))] {
		d, err := devices.Get(r, string(n))
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// booting returns the nodes that boot an image, in natural order: they are all of
// the image's user.
func booting(r state.Reader, ref images.Ref) ([]Device, error) {
	all, err := ownedBy(r, ref.User)
	return slices.DeleteFunc(all, func(d Device) bool { return d.Image != ref }), err
}
