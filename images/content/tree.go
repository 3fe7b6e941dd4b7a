package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
)

const (
	linkLimit  = 40   // symbolic links that a path may lead through, as in Linux
	depthLimit = 1024 // directories in one another
	stepLimit  = 8192 // names that a path may lead through, those in links included

	// treeBudget is how many bytes of memory, roughly, the files of one image
	// may take: a million files.
	treeBudget = 256 << 20
	nodeCost   = 256
)

// Attr is what FileInfo.Sys returns for the files of an image.
type Attr struct {
	UID, GID     int
	Major, Minor int64 // of a device
	// Capability is the attribute security.capability of a regular file: what a
	// program may do beyond its user, as setcap writes it. "" when it has none.
	Capability string
}

// inode is one file of an image. Hard links are names of the same inode.
type inode struct {
	mode   fs.FileMode
	number Ino // 0 until the tree is numbered
	layer  int // that has the content
	size   int64
	offset int64  // of the content in the layer's archive
	parts  []part // of a sparse file, else nil
	mtime  time.Time
	attr   Attr
	link   string            // target of a symbolic link
	kids   map[string]*inode // of a directory
}

// stored is how many bytes of the archive the content takes.
func (n *inode) stored() (sum int64) {
	switch {
	case !n.mode.IsRegular():
		return 0
	case n.parts == nil:
		return n.size
	}
	for _, p := range n.parts {
		sum += p.size
	}
	return sum
}

// budget counts down the memory that reading an image may still take.
type budget int64

func (b *budget) take(name int) error {
	if *b -= budget(nodeCost + name); *b < 0 {
		return errors.New("it has too many files")
	}
	return nil
}

// unpackers is how many layers of one image are unpacked at the same time.
const unpackers = 4

// merge builds the tree of an image from its layers, the lowest first.
func (s *Store) merge(ctx context.Context, layers []Blob) (*Tree, error) {
	t := &Tree{store: s, root: newDir(), layers: make([]Digest, len(layers))}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(unpackers)
	for i, b := range layers {
		t.layers[i] = b.Digest
		g.Go(func() error {
			_, err := s.layer(gctx, b.Digest)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	left := budget(treeBudget)
	for i, d := range t.layers {
		if err := t.add(ctx, i, &left); err != nil {
			if ctx.Err() != nil || fault.As(err) != nil {
				return nil, err
			}
			return nil, layerError(d, err)
		}
	}
	t.weight = treeBudget - int(left)
	return t, nil
}

// add puts the layer number n on those below it.
func (t *Tree) add(ctx context.Context, n int, left *budget) error {
	f, err := t.open(ctx, n)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := entries(ctx, f, n, left)
	if err != nil {
		return err
	}
	return t.apply(ctx, all, left)
}

// Names of entries that take files of the layers below away, see
// https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
const (
	whiteout = ".wh."         // + name: the file of that name
	reserved = ".wh..wh."     // + name: no file, of AUFS
	opaque   = ".wh..wh..opq" // all files in the directory
)

// apply puts the entries of one layer on the layers below it. What a layer takes
// away is below it, wherever in its archive it says so; hence the two passes.
func (t *Tree) apply(ctx context.Context, all []entry, left *budget) error {
	for _, e := range all {
		dir, base := path.Split(e.path)
		if !strings.HasPrefix(base, whiteout) {
			continue
		}
		parent, err := t.walk(dir, true, nil)
		if err != nil || !parent.mode.IsDir() {
			continue // nothing is there to take away
		}
		switch {
		case base == opaque:
			clear(parent.kids)
		case !strings.HasPrefix(base, reserved):
			delete(parent.kids, base[len(whiteout):])
		}
	}
	// A hard link may stand before the file that it is a name of: it waits for the
	// next round, and one that waits for nothing is an error.
	for len(all) > 0 {
		var later []entry
		for i, e := range all {
			if i%1024 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if strings.HasPrefix(path.Base(e.path), whiteout) {
				continue
			}
			err := t.put(e, left)
			if e.node == nil && errors.Is(err, fs.ErrNotExist) {
				later = append(later, e)
				continue
			}
			if err != nil {
				return fmt.Errorf("/%s: %w", e.path, err)
			}
		}
		if len(later) == len(all) {
			e := later[0]
			return fmt.Errorf("/%s: hard link to /%s: %w", e.path, e.hard, fs.ErrNotExist)
		}
		all = later
	}
	return nil
}

// put makes the file that an entry describes, in place of what has its name.
func (t *Tree) put(e entry, left *budget) error {
	if e.path == "" {
		if e.node == nil || !e.node.mode.IsDir() {
			return errors.New("the root is not a directory")
		}
		e.node.kids, t.root = t.root.kids, e.node
		return nil
	}
	dir, base := path.Split(e.path)
	parent, err := t.walk(dir, true, left)
	if err != nil {
		return err
	}
	old := parent.kids[base]
	switch {
	case e.node == nil:
		if e.node, err = t.walk(e.hard, false, nil); err != nil {
			return fmt.Errorf("hard link to /%s: %w", e.hard, err)
		}
		if e.node.mode.IsDir() {
			return fmt.Errorf("hard link to the directory /%s", e.hard)
		}
	case !e.node.mode.IsDir():
	case old != nil && old.mode.IsDir():
		e.node.kids = old.kids
	default:
		e.node.kids = map[string]*inode{}
	}
	parent.kids[strings.Clone(base)] = e.node
	return nil
}

func newDir() *inode { return &inode{mode: fs.ModeDir | 0o755, kids: map[string]*inode{}} }

// walk returns the file that a path leads to, following symbolic links inside
// the tree, the last one too if follow is set. With a budget it makes the
// directories that are missing, also in place of files.
func (t *Tree) walk(name string, follow bool, grow *budget) (*inode, error) {
	above := make([]*inode, 1, 16) // from the root to here
	above[0] = t.root
	links, steps := 0, 0
	for name != "" {
		here := above[len(above)-1]
		if !here.mode.IsDir() {
			return nil, syscall.ENOTDIR
		}
		elem, rest, _ := strings.Cut(name, "/")
		name = rest
		if steps++; steps > stepLimit || len(above) > depthLimit {
			return nil, syscall.ENAMETOOLONG
		}
		if elem == "" || elem == "." {
			continue
		}
		if elem == ".." {
			above = above[:max(1, len(above)-1)]
			continue
		}
		kid := here.kids[elem]
		switch {
		case kid != nil && kid.mode&fs.ModeSymlink != 0 && (follow || rest != ""):
			if links++; links > linkLimit {
				return nil, syscall.ELOOP
			}
			if strings.HasPrefix(kid.link, "/") {
				above = above[:1]
			}
			name = kid.link + "/" + rest
			continue
		case grow != nil && (kid == nil || !kid.mode.IsDir()):
			if err := grow.take(len(elem)); err != nil {
				return nil, err
			}
			kid = newDir()
			here.kids[strings.Clone(elem)] = kid
		case kid == nil:
			return nil, fs.ErrNotExist
		}
		above = append(above, kid)
	}
	return above[len(above)-1], nil
}

// open opens the archive of a layer.
func (t *Tree) open(ctx context.Context, layer int) (*os.File, error) {
	p, err := t.store.layer(ctx, t.layers[layer])
	if err != nil {
		return nil, err
	}
	return os.Open(p)
}
