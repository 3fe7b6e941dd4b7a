package main

import (
	"context"
	"io"

	"walt/auth"
	"walt/consent"
	"walt/images"
	"walt/nodes"
	"walt/reach"
	"walt/reach/files"
)

// nodeFiles finds the files of nodes, and has the log told of who opens them.
type nodeFiles struct {
	*nodes.Lab
	doors *reach.Doors
}

func (f nodeFiles) Files(ctx context.Context, user auth.Name, n nodes.Name, given consent.Agreement, begins []byte) (io.ReadWriteCloser, error) {
	stream, err := f.Lab.Files(ctx, user, n, given, begins)
	if err != nil {
		return nil, err
	}
	return f.doors.Files(user, n, stream), nil
}

// imageFiles finds the files of images of a user.
type imageFiles struct {
	catalog *images.Catalog
	library *images.Library
}

func (f imageFiles) Tree(ctx context.Context, user auth.Name, name string) (files.Tree, error) {
	if _, err := f.catalog.Seed(ctx, user); err != nil {
		return nil, err
	}
	img, err := f.catalog.Own(ctx, user, name)
	if err != nil {
		return nil, err
	}
	tree, err := f.library.Files(ctx, img.Digest)
	if err != nil {
		return nil, err
	}
	return tree.(files.Tree), nil // as its documentation says
}

func (f imageFiles) Images(ctx context.Context, user auth.Name) (names []string, err error) {
	mine, _, err := f.catalog.WorkingSet(ctx, user)
	for _, img := range mine {
		names = append(names, img.Ref.Short())
	}
	return names, err
}

// sftp serves what users reach of files.
type sftp struct{ files.Lab }

func (f sftp) Serve(ctx context.Context, user auth.Name, in io.Reader, out io.Writer, tell func(error)) error {
	return files.Serve(ctx, f.For(user, consent.Agreement{}), in, out, tell)
}

// copyFiles copies files, and says what it copied.
func (s *server) copyFiles(ctx context.Context, user auth.Name, given consent.Agreement, from, to string, all bool) (string, error) {
	done, err := files.Copy(ctx, s.files.For(user, given), from, to, all)
	if err != nil {
		return "", err
	}
	return done.String(), nil
}
