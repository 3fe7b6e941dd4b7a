package sim

import (
	"io/fs"
	"path"
	"syscall"
	"time"

	"walt/images/content"
)

// stat tells of the file that an absolute path leads to.
func (d *disk) stat(name string, follow bool) (stat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, follow)
	if err != nil {
		return stat{}, err
	}
	return d.tell(path.Base(name), p.file), nil
}

// existing is find for what has to be there. The caller holds the lock.
func (d *disk) existing(name string, follow bool) (place, error) {
	p, err := d.find(name, follow)
	if err == nil && p.file == nil {
		err = syscall.ENOENT
	}
	return p, err
}

// stat is what is known of a file.
type stat struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
	attr  content.Attr
}

func (s stat) Name() string               { return s.name }
func (s stat) Size() int64                { return s.size }
func (s stat) Mode() fs.FileMode          { return s.mode }
func (s stat) ModTime() time.Time         { return s.mtime }
func (s stat) IsDir() bool                { return s.mode.IsDir() }
func (s stat) Sys() any                   { return s.attr }
func (s stat) Type() fs.FileMode          { return s.mode.Type() }
func (s stat) Info() (fs.FileInfo, error) { return s, nil }

func (d *disk) tell(name string, f *file) stat {
	return stat{name, f.size, f.mode, f.mtime, f.attr}
}

// list tells of what is in a directory, in order.
func (d *disk) list(name string) ([]stat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, true)
	if err != nil {
		return nil, err
	}
	if !p.file.mode.IsDir() {
		return nil, syscall.ENOTDIR
	}
	names, err := d.names(p.file)
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, name := range names {
		f, err := d.kid(p.file, name)
		if err != nil {
			return nil, err
		}
		if f != nil {
			all = append(all, d.tell(name, f))
		}
	}
	return all, nil
}

func (d *disk) readLink(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, false)
	switch {
	case err != nil:
		return "", err
	case p.file.mode&fs.ModeSymlink == 0:
		return "", syscall.EINVAL
	}
	return d.target(p.file)
}

// make gives a new file the name of a place where there is none.
func (d *disk) make(p place, f *file) error {
	f.mtime = d.now()
	p.file = f
	if err := d.keep(p); err != nil {
		return err
	}
	d.touched(p)
	return nil
}

// mkdir makes a directory.
func (d *disk) mkdir(name string) error {
	return d.add(name, &file{mode: fs.ModeDir | 0o755})
}

// symlink makes a symbolic link to another path.
func (d *disk) symlink(to, name string) error {
	if to == "" {
		return syscall.ENOENT
	}
	if len(to) > pathLimit {
		return syscall.ENAMETOOLONG
	}
	return d.add(name, &file{mode: fs.ModeSymlink | 0o777, link: to, size: int64(len(to))})
}

func (d *disk) add(name string, f *file) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.find(name, false)
	if err != nil {
		return err
	}
	if p.file != nil {
		return syscall.EEXIST
	}
	if err := d.pay(f, int64(len(f.link))); err != nil {
		return err
	}
	if err := d.make(p, f); err != nil {
		d.forget(f)
		return err
	}
	return nil
}

// remove takes a name away, with all that is in a directory if asked to.
func (d *disk) remove(name string, all bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, false)
	switch {
	case err != nil:
		return err
	case p.name == "":
		return syscall.EBUSY // the root
	case p.file.mode.IsDir() && !all:
		names, err := d.names(p.file)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	return d.drop(p)
}

// rename gives a file another name, in place of what has it.
func (d *disk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, err := d.existing(from, false)
	if err != nil {
		return err
	}
	p, err := d.find(to, false)
	switch {
	case err != nil:
		return err
	case old.name == "" || p.name == "":
		return syscall.EBUSY
	}
	if err := d.keep(old); err != nil { // so that both see the same directories
		return err
	}
	if p, err = d.find(to, false); err != nil {
		return err
	}
	for _, dir := range p.dirs {
		if dir == old.file {
			return syscall.EINVAL
		}
	}
	if p.file == old.file {
		return nil
	}
	if p.file != nil {
		switch {
		case p.file.mode.IsDir() && !old.file.mode.IsDir():
			return syscall.EISDIR
		case !p.file.mode.IsDir() && old.file.mode.IsDir():
			return syscall.ENOTDIR
		case p.file.mode.IsDir():
			names, err := d.names(p.file)
			if err != nil {
				return err
			}
			if len(names) > 0 {
				return syscall.ENOTEMPTY
			}
		}
	}
	replaced := p.file
	p.file = old.file
	if err := d.keep(p); err != nil {
		return err
	}
	d.forget(replaced)
	d.touched(p)
	moved := old.file
	old.file = nil // it has a name still: nothing of it is given back
	err = d.drop(old)
	moved.gone = false
	return err
}

// change sets the mode of a file, or the time of its last change.
func (d *disk) change(name string, set func(f *stat)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, true)
	if err != nil {
		return err
	}
	if err := d.keep(p); err != nil {
		return err
	}
	s := d.tell(p.name, p.file)
	set(&s)
	p.file.mode, p.file.mtime = s.mode, s.mtime
	return nil
}

// truncate gives a file another size; what is new is zero.
func (d *disk) truncate(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, true)
	switch {
	case err != nil:
		return err
	case p.file.mode.IsDir():
		return syscall.EISDIR
	case !p.file.mode.IsRegular():
		return syscall.EINVAL
	}
	if err := d.keep(p); err != nil {
		return err
	}
	if err := d.take(p.file); err != nil {
		return err
	}
	p.file.mtime = d.now()
	return d.setSize(p.file, size)
}

// setSize is resize that leaves nothing of what was cut off.
func (d *disk) setSize(f *file, size int64) error {
	if size < 0 || size > diskSize {
		return syscall.ENOSPC
	}
	if at := size % blockSize; size < f.size && at > 0 {
		clear(f.blocks[size/blockSize][at:])
	}
	return d.resize(f, size)
}
