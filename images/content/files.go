package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Tree is the file system of an image: read-only, merged from its layers. Open
// and Stat follow symbolic links, which are resolved as if the image's root was
// the root: no path leads out of it. Regular files can be read at any offset.
// Devices, FIFOs and the like have their metadata and nothing to read. Sys
// returns an Attr. A Tree is safe for concurrent use and needs no closing.
type Tree struct {
	store   *Store
	root    *inode
	layers  []Digest
	weight  int // bytes of memory, roughly
	numbers numbers
}

var (
	_ fs.StatFS     = (*Tree)(nil)
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

// find looks a path of the fs package up.
func (t *Tree) find(op, name string, follow bool) (info, error) {
	if !fs.ValidPath(name) {
		return info{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, err := t.walk(name, follow, nil)
	if err != nil {
		return info{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return info{path.Base(name), n}, nil
}

// Open opens a file for reading. Regular files are io.Seeker and io.ReaderAt,
// too, directories fs.ReadDirFile.
func (t *Tree) Open(name string) (fs.File, error) {
	i, err := t.find("open", name, true)
	switch {
	case err != nil:
		return nil, err
	case i.IsDir():
		return &dir{metaFile: metaFile{i, syscall.EISDIR}, entries: t.entries(i.node)}, nil
	case !i.Mode().IsRegular():
		return metaFile{i, errNoContent}, nil
	}
	f, err := t.open(context.Background(), i.node.layer)
	if err != nil {
		// err itself may say that a file does not exist: not one of the image
		return nil, fmt.Errorf("open %s in layer %s: %v", name, t.layers[i.node.layer], err)
	}
	section := io.NewSectionReader(f, i.node.offset, i.node.size)
	if i.node.parts != nil {
		section = io.NewSectionReader(sparseReader{f, i.node.parts}, 0, i.node.size)
	}
	return &file{info: i, section: section, archive: f}, nil
}

// Stat describes the file that the path leads to.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	i, err := t.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Lstat describes the file of that name, which may be a symbolic link.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	i, err := t.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// ReadLink returns the target of a symbolic link, as the image has it.
func (t *Tree) ReadLink(name string) (string, error) {
	i, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if i.Mode()&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return i.node.link, nil
}

// ReadDir returns the entries of a directory, ordered by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	i, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !i.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	return t.entries(i.node), nil
}

// Reader returns the content of the regular file that the path leads to. It needs no closing:
// it is readable as long as the tree is in use.
func (t *Tree) Reader(name string) (io.ReaderAt, error) {
	i, err := t.find("open", name, true)
	switch {
	case err != nil:
		return nil, err
	case i.IsDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case !i.Mode().IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNoContent}
	}
	return Inode{t, i.node}, nil
}

// wholeLimit is how many bytes of a sparse file ReadFile returns at most.
const wholeLimit = 256 << 20

// ReadFile returns the content of a file.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, ok := f.(*file)
	if !ok {
		_, err := f.Read(nil)
		return nil, err
	}
	if r.node.parts != nil && r.Size() > wholeLimit { // a few bytes would take any amount of memory
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EFBIG}
	}
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// info is a file under one of its names.
type info struct {
	name string
	node *inode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.node.size }
func (i info) Mode() fs.FileMode  { return i.node.mode }
func (i info) ModTime() time.Time { return i.node.mtime }
func (i info) IsDir() bool        { return i.node.mode.IsDir() }
func (i info) Sys() any           { return i.node.attr }

// Type and Info make it an fs.DirEntry.
func (i info) Type() fs.FileMode          { return i.node.mode.Type() }
func (i info) Info() (fs.FileInfo, error) { return i, nil }

// entries returns what is in a directory, ordered by name. That is known once the tree
// is numbered, but for files whose names are too long for a number.
func (t *Tree) entries(dir *inode) []fs.DirEntry {
	names := t.numbered().dirs[dir.number].names
	if len(names) != len(dir.kids) {
		names = make([]info, 0, len(dir.kids))
		for name, kid := range dir.kids {
			names = append(names, info{name, kid})
		}
		slices.SortFunc(names, byName)
	}
	all := make([]fs.DirEntry, len(names))
	for k := range names {
		all[k] = &names[k]
	}
	return all
}

func byName(a, b info) int { return strings.Compare(a.name, b.name) }

// file is an open regular file.
type file struct {
	info
	section *io.SectionReader
	archive *os.File
}

func (f *file) Stat() (fs.FileInfo, error)                { return f.info, nil }
func (f *file) Read(p []byte) (int, error)                { return f.section.Read(p) }
func (f *file) ReadAt(p []byte, off int64) (int, error)   { return f.section.ReadAt(p, off) }
func (f *file) Seek(off int64, whence int) (int64, error) { return f.section.Seek(off, whence) }
func (f *file) Close() error                              { return f.archive.Close() }

var errNoContent = errors.New("it has no content to read")

// metaFile is an open file that has metadata alone: Read fails with why.
type metaFile struct {
	info
	why error
}

func (f metaFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f metaFile) Close() error               { return nil }
func (f metaFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: f.why}
}

// dir is an open directory.
type dir struct {
	metaFile
	entries []fs.DirEntry // that ReadDir did not return yet
}

func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	next := d.entries[:n:n]
	d.entries = d.entries[n:]
	return next, nil
}
