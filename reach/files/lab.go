package files

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

// Nodes is who knows which nodes there are, and who may use them.
type Nodes interface {
	// MayReach is a fault when a node is not for the user, or when there is none.
	MayReach(ctx context.Context, user auth.Name, n nodes.Name, given consent.Agreement) (here bool, err error)
	// Files connects to the SFTP server of a node, to which the packet begins was sent.
	Files(ctx context.Context, user auth.Name, n nodes.Name, given consent.Agreement, begins []byte) (io.ReadWriteCloser, error)
	// Reachable returns the next nodes, at most so many, in the order of bytes, that come after
	// a name, of whatever form, and are for the user.
	Reachable(ctx context.Context, user auth.Name, after string, most int) ([]nodes.Name, error)
}

// Images is who knows the images.
type Images interface {
	// Tree returns the files of an image of the user.
	Tree(ctx context.Context, user auth.Name, image string) (Tree, error)
	// Images returns the names of all of them.
	Images(ctx context.Context, user auth.Name) ([]string, error)
}

// Lab has the files of nodes and images.
type Lab struct {
	Nodes  Nodes
	Images Images
}

// For returns the folders of a user, who agreed to use some nodes of others.
func (l Lab) For(user auth.Name, given consent.Agreement) Folders { return own{l, user, given} }

// own is the folders of one user.
type own struct {
	lab   Lab
	user  auth.Name
	given consent.Agreement
}

func (o own) Look(ctx context.Context, name string) error {
	if image, is := strings.CutPrefix(name, imagePrefix); is {
		_, err := o.lab.Images.Tree(ctx, o.user, image)
		return missing(err)
	}
	here, err := o.lab.Nodes.MayReach(ctx, o.user, nodes.Name(name), o.given.On(name))
	switch {
	case err == nil:
		return nil
	case !here:
		return missing(err)
	}
	return errors.Join(err, ErrDenied)
}

func missing(err error) error {
	if fault.As(err) == nil {
		return err
	}
	return errors.Join(err, ErrNone)
}

func (o own) Open(ctx context.Context, name string) (Folder, error) {
	if err := o.Look(ctx, name); err != nil {
		return Folder{}, err
	}
	if image, is := strings.CutPrefix(name, imagePrefix); is {
		t, err := o.lab.Images.Tree(ctx, o.user, image)
		if err != nil {
			return Folder{}, missing(err)
		}
		return openTree(ctx, t), nil
	}
	stream, err := o.lab.Nodes.Files(ctx, o.user, nodes.Name(name), o.given.On(name), begins)
	return Folder{ReadWriteCloser: stream}, err
}

// List has the images among the nodes.
func (o own) List(ctx context.Context, after string, most int) ([]string, error) {
	reachable, err := o.lab.Nodes.Reachable(ctx, o.user, after, most)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range reachable {
		names = append(names, string(n))
	}
	images, err := o.lab.Images.Images(ctx, o.user)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if name := imagePrefix + image; name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), most)], nil
}
