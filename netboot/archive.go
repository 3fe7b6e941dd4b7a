package netboot

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"path"

	"walt/images/content"
)

// archive writes the files of a tree as a tar archive with the records of PAX, each
// directory before what is in it: the same bytes for the same tree, so that who lost a
// connection can go on where that was. Files that no Linux could make are left out.
func archive(ctx context.Context, w io.Writer, t *content.Tree) error {
	root, ok := t.Inode(content.Root)
	if !ok {
		return fs.ErrNotExist
	}
	a := &archiver{ctx: ctx, tar: tar.NewWriter(w), buffer: make([]byte, 128<<10), first: map[content.Ino]string{}}
	if err := a.add("./", root); err != nil {
		return err
	}
	if err := a.enter("", root); err != nil {
		return err
	}
	return a.tar.Close()
}

// archiver writes one archive.
type archiver struct {
	ctx    context.Context
	tar    *tar.Writer
	buffer []byte
	first  map[content.Ino]string // of hard links, the name that was written with the content
}

// enter adds what is in a directory, whose name ends in a slash but for the root.
func (a *archiver) enter(dir string, d content.Inode) error {
	for k := 0; ; k++ {
		name, kid, ok := d.Entry(k)
		if !ok {
			return nil
		}
		if a.ctx.Err() != nil {
			return context.Cause(a.ctx)
		}
		name = dir + name
		if !kid.Mode().IsDir() {
			if err := a.add(name, kid); err != nil {
				return err
			}
			continue
		}
		if err := a.add(name+"/", kid); err != nil {
			return err
		}
		if err := a.enter(name+"/", kid); err != nil {
			return err
		}
	}
}

// add writes one file.
func (a *archiver) add(name string, i content.Inode) error {
	attr := i.Attr()
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: bits(i.Mode()), ModTime: i.ModTime(),
		Uid: int(uint32(attr.UID)), Gid: int(uint32(attr.GID)),
	}
	switch i.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, i.Size()
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, i.Target()
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
	case fs.ModeDevice:
		h.Typeflag = tar.TypeBlock
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	default:
		return nil
	}
	if i.Mode()&fs.ModeDevice != 0 {
		if h.Devmajor, h.Devminor = attr.Major, attr.Minor; !isDevice(attr) {
			return nil
		}
	}
	if attr.Capability != "" {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": attr.Capability}
	}
	if i.Links() > 1 && !i.Mode().IsDir() {
		if first, there := a.first[i.Number()]; there {
			h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
		} else {
			a.first[i.Number()] = name
		}
	}
	if err := a.tar.WriteHeader(h); err != nil {
		return &fs.PathError{Op: "archive", Path: path.Clean(name), Err: err}
	}
	if h.Size == 0 {
		return nil
	}
	_, err := io.CopyBuffer(a.tar, io.NewSectionReader(i, 0, h.Size), a.buffer)
	return err
}

// isDevice reports whether Linux has devices of these numbers, see its makedev(3).
func isDevice(a content.Attr) bool {
	return a.Major >= 0 && a.Major < 1<<12 && a.Minor >= 0 && a.Minor < 1<<20
}

// bits are the permissions of a file as Unix has them.
func bits(m fs.FileMode) int64 {
	b := int64(m.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			b |= bit
		}
	}
	return b
}
