package sim

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"walt/images/content"
)

const (
	// diskSize is how many bytes of memory the changes of one node may take.
	diskSize = 64 << 20
	// nameCost is what a file that was made, changed or removed takes besides
	// its content.
	nameCost  = 512
	blockSize = 4 << 10

	linkLimit = 40   // symbolic links that a path may lead through, as in Linux
	pathLimit = 4096 // bytes of a path
)

// disk is the files of a machine: those of its image, and over them what was
// changed since it booted. All of it is lost with the machine.
type disk struct {
	image fs.FS // resolves symbolic links of directories, and may implement fs.ReadLinkFS
	now   func() time.Time

	mu   sync.Mutex // guards what follows, and all files
	root *file
	free int64 // bytes
}

// file is one that differs from the image, or is on the way to one that does.
// Others are made up for the moment that somebody looks at them.
type file struct {
	below string // what it is in the image, "" when it is in none
	mode  fs.FileMode
	mtime time.Time
	attr  content.Attr
	size  int64

	kids   map[string]*file // of a directory: what differs; nil is a name that was removed
	link   string           // where a symbolic link leads
	blocks []*[blockSize]byte
	open   int  // readers and writers
	gone   bool // it has no name any more
	paid   int64
}

func newDisk(image fs.FS, now func() time.Time) (*disk, error) {
	d := &disk{image: image, now: now, free: diskSize}
	info, err := fs.Stat(image, ".")
	if err != nil {
		return nil, err
	}
	d.root = d.of(".", info)
	return d, nil
}

// of returns a file as it is in the image.
func (d *disk) of(below string, info fs.FileInfo) *file {
	f := &file{below: below, mode: info.Mode(), mtime: info.ModTime(), size: info.Size()}
	f.attr, _ = info.Sys().(content.Attr)
	return f
}

// pay takes n bytes of the disk for f, or gives them back.
func (d *disk) pay(f *file, n int64) error {
	if n > d.free {
		return syscall.ENOSPC
	}
	d.free -= n
	f.paid += n
	return nil
}

// borrow takes n bytes for something that is no file; it is given back with -n.
func (d *disk) borrow(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pay(&file{}, n)
}

// place is where a path leads: a name in a directory, and the file of that name.
type place struct {
	dirs []*file  // from the root to the one with the name
	path []string // of these directories, without the root
	name string   // "" for the root
	file *file    // nil when there is none
}

func (p place) dir() *file { return p.dirs[len(p.dirs)-1] }

// find goes along an absolute path, through symbolic links, of which the last is
// followed on demand. What is missing at the end of it is no error.
func (d *disk) find(name string, follow bool) (place, error) {
	if len(name) > pathLimit {
		return place{}, syscall.ENAMETOOLONG
	}
	p := place{dirs: []*file{d.root}, file: d.root}
	links := 0
	for name != "" {
		elem, rest, more := strings.Cut(name, "/")
		name = rest
		if elem == "" || elem == "." {
			continue
		}
		if p.file == nil {
			return p, syscall.ENOENT
		}
		if !p.file.mode.IsDir() {
			return p, syscall.ENOTDIR
		}
		if len(elem) > 255 {
			return p, syscall.ENAMETOOLONG
		}
		p.enter()
		if elem == ".." {
			p.leave()
			continue
		}
		kid, err := d.kid(p.dir(), elem)
		if err != nil {
			return p, err
		}
		if kid != nil && kid.mode&fs.ModeSymlink != 0 && (follow || more) {
			if links++; links > linkLimit {
				return p, syscall.ELOOP
			}
			to, err := d.target(kid)
			if err != nil {
				return p, err
			}
			if strings.HasPrefix(to, "/") {
				p = place{dirs: []*file{d.root}}
			}
			p.name, p.file = "", p.dir()
			p.reenter()
			if name = to + "/" + rest; len(name) > 2*pathLimit {
				return p, syscall.ENAMETOOLONG
			}
			continue
		}
		p.name, p.file = elem, kid
	}
	return p, nil
}

// enter makes the file of a place the directory in which the next name is.
func (p *place) enter() {
	if p.name != "" {
		p.dirs, p.path, p.name = append(p.dirs, p.file), append(p.path, p.name), ""
	}
}

// leave goes to the directory above the one that was entered.
func (p *place) leave() {
	if len(p.path) > 0 {
		p.dirs, p.path = p.dirs[:len(p.dirs)-1], p.path[:len(p.path)-1]
	}
	p.file = p.dir()
	p.reenter()
}

// reenter makes the directory of a place its file again.
func (p *place) reenter() {
	if len(p.path) > 0 {
		last := len(p.path) - 1
		p.name = p.path[last]
		p.dirs, p.path = p.dirs[:last+1], p.path[:last]
	}
}

// kid returns the file of a name in a directory, or nil.
func (d *disk) kid(dir *file, name string) (*file, error) {
	if f, changed := dir.kids[name]; changed || dir.below == "" {
		return f, nil
	}
	below := path.Join(dir.below, name)
	info, err := fs.Lstat(d.image, below)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d.of(below, info), nil
}

func (d *disk) target(f *file) (string, error) {
	if f.below == "" {
		return f.link, nil
	}
	return fs.ReadLink(d.image, f.below)
}

// keep makes the files on the way to a place, and the one there, last.
func (d *disk) keep(p place) error {
	way := append(slices.Clone(p.dirs), p.file)
	names := append(slices.Clone(p.path), p.name)
	for i, name := range names {
		if name == "" {
			continue
		}
		if err := d.hang(way[i], name, way[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// hang gives f a name in a directory that lasts.
func (d *disk) hang(dir *file, name string, f *file) error {
	if old, changed := dir.kids[name]; changed {
		if old == f {
			return nil
		}
	} else if err := d.pay(dir, nameCost+int64(len(name))); err != nil {
		return err
	}
	if dir.kids == nil {
		dir.kids = map[string]*file{}
	}
	dir.kids[strings.Clone(name)] = f
	if f != nil {
		f.gone = false
	}
	return nil
}

// drop takes the name of a place away.
func (d *disk) drop(p place) error {
	if d.inImage(p) {
		if err := d.keep(p); err != nil {
			return err
		}
		p.dir().kids[p.name] = nil
	} else {
		delete(p.dir().kids, p.name)
		_ = d.pay(p.dir(), -nameCost-int64(len(p.name)))
	}
	d.touched(p)
	d.forget(p.file)
	return nil
}

// inImage reports whether the image has something under the name of a place.
func (d *disk) inImage(p place) bool {
	if p.dir().below == "" {
		return false
	}
	_, err := fs.Lstat(d.image, path.Join(p.dir().below, p.name))
	return err == nil
}

func (d *disk) touched(p place) { p.dir().mtime = d.now() }

// forget gives back what a file without a name takes, and what is in it, unless
// somebody has it open.
func (d *disk) forget(f *file) {
	for all := []*file{f}; len(all) > 0; {
		f, all = all[len(all)-1], all[:len(all)-1]
		if f == nil {
			continue
		}
		for _, kid := range f.kids {
			all = append(all, kid)
		}
		f.kids, f.gone = nil, true
		if f.open == 0 {
			_ = d.pay(f, -f.paid)
			f.blocks = nil
		}
	}
}

// names returns what is in a directory, in order.
func (d *disk) names(dir *file) ([]string, error) {
	var all []string
	if dir.below != "" {
		entries, err := fs.ReadDir(d.image, dir.below)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, changed := dir.kids[e.Name()]; !changed {
				all = append(all, e.Name())
			}
		}
	}
	for name, f := range dir.kids {
		if f != nil {
			all = append(all, name)
		}
	}
	slices.SortFunc(all, cmp.Compare)
	return all, nil
}

// resize makes room for a file of that size, or frees what is beyond it.
func (d *disk) resize(f *file, size int64) error {
	want := int((size + blockSize - 1) / blockSize)
	if more := want - len(f.blocks); more != 0 {
		if err := d.pay(f, int64(more)*(blockSize+8)); err != nil {
			return err
		}
		if more < 0 {
			clear(f.blocks[want:])
			f.blocks = slices.Clip(f.blocks[:want])
		}
		for range more {
			f.blocks = append(f.blocks, new([blockSize]byte))
		}
	}
	f.size = size
	return nil
}

// write puts bytes at the end of a file that is in memory.
func (d *disk) write(f *file, p []byte) (n int, err error) {
	for n < len(p) {
		at := f.size % blockSize
		part := min(int64(len(p)-n), blockSize-at)
		if err := d.resize(f, f.size+part); err != nil {
			return n, err
		}
		n += copy(f.blocks[len(f.blocks)-1][at:], p[n:n+int(part)])
	}
	f.mtime = d.now()
	return n, nil
}

// take copies the content of a file from the image into memory, to be changed.
func (d *disk) take(f *file) error {
	if f.below == "" {
		return nil
	}
	content, err := d.image.Open(f.below)
	if err != nil {
		return err
	}
	defer content.Close()
	copied := &file{}
	buf := make([]byte, 32<<10)
	for {
		n, err := content.Read(buf)
		if _, err := d.write(copied, buf[:n]); err != nil {
			d.forget(copied)
			return err
		}
		if errors.Is(err, io.EOF) {
			f.below, f.blocks, f.size = "", copied.blocks, copied.size
			f.paid += copied.paid
			return nil
		}
		if err != nil {
			d.forget(copied)
			return err
		}
	}
}
