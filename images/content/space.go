package content

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"walt/fault"
)

const (
	// floor stays free for the rest of the server: its store does not
	// survive a full disk.
	floor = 128 << 20
	// spaceStep is how many bytes a file grows between looks at the free space.
	spaceStep = 8 << 20
)

// Disk is the one of a directory that is filled until too little of it is left.
type Disk struct {
	// Floor is how many bytes of the disk are never used.
	Floor int64

	dir string
}

// NewDisk is the disk of a directory, with the floor that all have.
func NewDisk(dir string) *Disk { return &Disk{Floor: floor, dir: dir} }

// CheckSpace fails with ENOSPC when size more bytes would leave too little of
// the disk.
func (d *Disk) CheckSpace(size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", d.dir, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free-d.Floor < size {
		return fmt.Errorf("%d bytes more in %s: %w", size, d.dir, syscall.ENOSPC)
	}
	return nil
}

// Writer writes a file in the directory while there is space. A full disk is ENOSPC.
func (d *Disk) Writer(f *os.File) io.Writer { return &spaceWriter{f: f, disk: d} }

// WriteFile makes a file in the directory, wholly and durably or not at all, from what fill
// writes to a temporary file in tmp, which is on the same disk. A full disk is ENOSPC.
func (d *Disk) WriteFile(path, tmp string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(tmp, "new")
	if err != nil {
		return err
	}
	err = fill(d.Writer(f))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// spaceWriter writes a file while there is space on the disk. Others fill it at
// the same time, so that asking once is not enough.
type spaceWriter struct {
	f    *os.File
	disk *Disk
	left int // bytes until the next look
}

func (w *spaceWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		if err := w.disk.CheckSpace(spaceStep); err != nil {
			return 0, err
		}
		w.left = spaceStep
	}
	return w.f.Write(p)
}

// DiskFull is a fault that says so when err says that the disk is full, else nil.
func DiskFull(err error) *fault.Error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Failedf("the disk for images of this server is full").WithHint("an administrator must make room on it")
	}
	return nil
}
