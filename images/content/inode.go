package content

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Ino is the number of a file in its tree. The root is 1, the others follow in the
// order of a walk from there that takes the entries of each directory by name: the
// files of an image have the same numbers wherever and whenever its tree is built.
// Hard links share the number of the name that comes first.
type Ino uint32

// Root is the number of the root of every tree.
const Root Ino = 1

// elementLimit is how many bytes the name of a file may have in Linux. Those with
// longer ones have no number.
const elementLimit = 255

// numbers are what the numbers of a tree stand for. They cost about 45 bytes of
// memory a file, and are made when they are first needed.
type numbers struct {
	once     sync.Once
	inodes   []*inode // the root is the first
	links    []uint32 // how many names each has
	dirs     map[Ino]listing
	capable  []Capable
	stored   int64                     // bytes of all contents
	archives []atomic.Pointer[os.File] // of the layers, once they were read from; closed with the tree, by the garbage collector
}

// listing is what a directory holds.
type listing struct {
	parent Ino    // of the root itself
	names  []info // ordered by name
}

// numbered returns the numbers of the tree.
func (t *Tree) numbered() *numbers {
	n := &t.numbers
	n.once.Do(func() {
		n.dirs = map[Ino]listing{}
		n.archives = make([]atomic.Pointer[os.File], len(t.layers))
		n.add(t.root)
		n.enter(t.root, t.root, "")
	})
	return n
}

// add counts a name of the file, and gives it a number if that is the first one.
func (n *numbers) add(node *inode) (first bool) {
	if node.number != 0 {
		n.links[node.number-1]++
		return false
	}
	n.inodes = append(n.inodes, node)
	n.links = append(n.links, 1)
	n.stored += node.stored()
	node.number = Ino(len(n.inodes))
	return true
}

// enter gives numbers to what is in a directory, each before what is in it. path is
// that of the directory, with a slash behind it unless it is the root.
func (n *numbers) enter(dir, parent *inode, path string) {
	d := listing{parent: parent.number, names: make([]info, 0, len(dir.kids))}
	for name, kid := range dir.kids {
		if len(name) <= elementLimit {
			d.names = append(d.names, info{name, kid})
		}
	}
	slices.SortFunc(d.names, byName)
	n.dirs[dir.number] = d
	n.links[dir.number-1]++ // "." in it
	for _, e := range d.names {
		if e.node.attr.Capability != "" {
			n.capable = append(n.capable, Capable{Path: path + e.name, Capability: e.node.attr.Capability, Size: e.node.size})
		}
		if n.add(e.node) && e.node.mode.IsDir() {
			n.links[dir.number-1]++ // ".." in that
			n.enter(e.node, dir, path+e.name+"/")
		}
	}
}

// Inode is a file of a tree that was found by its number, as network file systems
// do it. Its names and links are those of the image: nothing is followed. It is
// safe for concurrent use.
type Inode struct {
	tree *Tree
	node *inode
}

// Inode returns the file with the number, if there is one. The first call for a
// tree numbers its files: about 0.1 s for 100,000.
func (t *Tree) Inode(number Ino) (i Inode, ok bool) {
	all := t.numbered().inodes
	if number < Root || int64(number) > int64(len(all)) {
		return Inode{}, false
	}
	return Inode{t, all[number-1]}, true
}

// Usage returns how many numbers the files of the tree have, from 1 on, and how
// many bytes their contents take.
func (t *Tree) Usage() (files int, bytes int64) {
	n := t.numbered()
	return len(n.inodes), n.stored
}

// Usage is that of the tree that the file is in.
func (i Inode) Usage() (files int, bytes int64) { return i.tree.Usage() }

// Number is the number of the file.
func (i Inode) Number() Ino { return i.node.number }

// Mode is the type and the permissions of the file.
func (i Inode) Mode() fs.FileMode { return i.node.mode }

// Size is the length of a content, or of a symbolic link's target, in bytes.
func (i Inode) Size() int64 { return i.node.size }

// Stored is how many bytes of a content are kept: less than its size when it is sparse.
func (i Inode) Stored() int64 { return i.node.stored() }

// ModTime is when the file was last changed before it came into the image.
func (i Inode) ModTime() time.Time { return i.node.mtime }

// Attr is the owner of the file, and which device it is.
func (i Inode) Attr() Attr { return i.node.attr }

// Target is what a symbolic link leads to, as the image has it.
func (i Inode) Target() string { return i.node.link }

// Links is how many names the file has; for a directory "." in it and ".." in
// those below count, as in Linux.
func (i Inode) Links() uint32 { return i.tree.numbers.links[i.node.number-1] }

// Parent returns the directory that a directory is in; the root is in itself.
func (i Inode) Parent() Inode {
	n := &i.tree.numbers
	return Inode{i.tree, n.inodes[n.dirs[i.node.number].parent-1]}
}

// Lookup returns what has the name in a directory, if there is something.
func (i Inode) Lookup(name string) (kid Inode, ok bool) {
	node := i.node.kids[name]
	if node == nil || node.number == 0 {
		return Inode{}, false
	}
	return Inode{i.tree, node}, true
}

// Entry returns entry k of a directory, from 0 on in the order of names, until
// there are no more.
func (i Inode) Entry(k int) (name string, kid Inode, ok bool) {
	names := i.tree.numbers.dirs[i.node.number].names
	if k < 0 || k >= len(names) {
		return "", Inode{}, false
	}
	return names[k].name, Inode{i.tree, names[k].node}, true
}

// ReadAt reads the content of a regular file as io.ReaderAt does. The file stays
// readable as long as the tree is in use, even when its image is removed.
func (i Inode) ReadAt(p []byte, off int64) (int, error) {
	left := i.node.size - off
	switch {
	case !i.node.mode.IsRegular():
		return 0, errNoContent
	case off < 0:
		return 0, fs.ErrInvalid
	case left <= 0:
		return 0, io.EOF
	}
	archive, err := i.tree.archive(i.node.layer)
	if err != nil {
		// err itself may say that a file does not exist: not one of the image
		return 0, fmt.Errorf("read from layer %s: %v", i.tree.layers[i.node.layer], err)
	}
	want := p[:min(int64(len(p)), left)]
	var n int
	if i.node.parts != nil {
		n, err = sparseReader{archive, i.node.parts}.ReadAt(want, off)
	} else if n, err = archive.ReadAt(want, i.node.offset+off); err == io.EOF {
		err = io.ErrUnexpectedEOF // the archive had it all when the tree was built
	}
	if err == nil && len(want) < len(p) {
		err = io.EOF
	}
	return n, err
}

// archive returns the archive of a layer, opened at the first call.
func (t *Tree) archive(layer int) (*os.File, error) {
	kept := &t.numbered().archives[layer]
	if f := kept.Load(); f != nil {
		return f, nil
	}
	f, err := t.open(context.Background(), layer)
	if err != nil {
		return nil, err
	}
	if kept.CompareAndSwap(nil, f) {
		return f, nil
	}
	return kept.Load(), f.Close()
}
