package content

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Place is a directory of one tree, and where it is in another: both without a
// leading slash.
type Place struct{ From, To string }

// Part returns a tree that has some directories of this one, with all regular files,
// directories and symbolic links below them, and nothing else: no path and no number
// leads to other files, which are not in it. A directory that is not there, or to
// which a symbolic link leads, is left out. Where several come to the same place they
// are merged, and the file of the first stays.
func (t *Tree) Part(places ...Place) *Tree {
	p := &Tree{store: t.store, root: newDir(), layers: t.layers, weight: nodeCost}
	g := graft{to: p, files: map[*inode]*inode{}}
	p.root.attr, p.root.mode, p.root.mtime = t.root.attr, t.root.mode, t.root.mtime
	for _, at := range places {
		if from := t.real(at.From); from != nil {
			g.directory(g.place(at.To, from), from)
		}
	}
	return p
}

// real returns the directory with the path, if there is one and no part of its path
// is a symbolic link.
func (t *Tree) real(path string) *inode {
	here := t.root
	for elem := range strings.SplitSeq(path, "/") {
		if here = here.kids[elem]; here == nil || !here.mode.IsDir() {
			return nil
		}
	}
	return here
}

// graft puts copies of files of one tree into another.
type graft struct {
	to    *Tree
	files map[*inode]*inode // copies, by what they are of: hard links stay such
}

// place returns the directory with the path, like the original as far as it is new.
// Those above it are as new ones are.
func (g *graft) place(path string, original *inode) *inode {
	here := g.to.root
	for elem := range strings.SplitSeq(path, "/") {
		kid := here.kids[elem]
		if kid == nil {
			kid = newDir()
			kid.mtime = original.mtime
			here.kids[elem] = kid
			g.to.weight += nodeCost + len(elem)
		}
		here = kid
	}
	here.mode, here.attr = original.mode, original.attr
	return here
}

// directory puts what is in a directory into another.
func (g *graft) directory(to, from *inode) {
	for _, name := range slices.Sorted(maps.Keys(from.kids)) {
		kid, there := from.kids[name], to.kids[name]
		switch {
		case kid.mode.IsDir() && there == nil:
			there = g.copy(kid)
			there.kids = make(map[string]*inode, len(kid.kids))
			to.kids[name] = there
			g.directory(there, kid)
		case kid.mode.IsDir() && there.mode.IsDir():
			g.directory(there, kid)
		case there == nil && kid.mode&^fs.ModeSymlink&fs.ModeType == 0:
			if g.files[kid] == nil {
				g.files[kid] = g.copy(kid)
			}
			to.kids[name] = g.files[kid]
		default:
			continue
		}
		g.to.weight += len(name)
	}
}

// copy returns a file without a number of its own, and without what is in it.
func (g *graft) copy(of *inode) *inode {
	g.to.weight += nodeCost
	return &inode{
		mode: of.mode, layer: of.layer, size: of.size, offset: of.offset, parts: of.parts,
		mtime: of.mtime, attr: of.attr, link: of.link,
	}
}
