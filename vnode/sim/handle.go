package sim

import (
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// access is how a file is opened: without more to be read.
type access struct {
	write     bool
	create    bool // one that is not there
	exclusive bool // which must not be there
	truncate  bool
	appends   bool
	mode      fs.FileMode // of one that is made
}

// handle is a file that is open. It is written and read anywhere, by who asks for it, or written
// at its end and read from its beginning on, by one goroutine at a time.
type handle struct {
	disk *disk
	file *file // nil for a device, which drops what is written
	at   int64
	once bool

	image io.ReaderAt // its content, of one that is read only while that is the image's
	begun int64       // of one that is appended to: the size that it had
	shift int64       // from where the client counts
}

// devices are those that machines have, whether they are in the image or not.
var devices = map[string]io.ReaderAt{"/dev/null": strings.NewReader(""), "/dev/zero": zeros{}}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// open opens the file that an absolute path leads to.
func (d *disk) open(name string, how access) (*handle, error) {
	if device := devices[name]; device != nil {
		return &handle{image: device}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.find(name, true)
	switch {
	case err != nil:
		return nil, err
	case p.file != nil && how.create && how.exclusive:
		return nil, syscall.EEXIST
	case p.file == nil && !how.create:
		return nil, syscall.ENOENT
	case p.file == nil:
		if err := d.make(p, &file{mode: how.mode}); err != nil {
			return nil, err
		}
		if p, err = d.existing(name, true); err != nil {
			return nil, err
		}
	case p.file.mode.IsDir():
		return nil, syscall.EISDIR
	case !p.file.mode.IsRegular():
		return nil, syscall.ENXIO // there is no device behind it
	}
	f := p.file
	h := &handle{disk: d, file: f}
	switch {
	case !how.write && f.below != "":
		h.image, err = d.reader(f.below)
	case how.write:
		if err = d.keep(p); err == nil {
			err = d.ready(f, how.truncate)
		}
	}
	if err != nil {
		return nil, err
	}
	if how.appends {
		h.begun = f.size
	}
	f.open++
	return h, nil
}

// ready makes a file one that can be written. d.mu is held.
func (d *disk) ready(f *file, empty bool) error {
	f.mtime = d.now()
	if !empty {
		return d.take(f)
	}
	f.below = ""
	return d.setSize(f, 0)
}

// reader returns the content of a file of the image, which stays as it is.
func (d *disk) reader(below string) (io.ReaderAt, error) {
	if tree, is := d.image.(interface {
		Reader(name string) (io.ReaderAt, error)
	}); is {
		return tree.Reader(below)
	}
	f, err := d.image.Open(below)
	if err != nil {
		return nil, err
	}
	if r, is := f.(io.ReaderAt); is {
		return r, nil
	}
	return nil, syscall.ENXIO
}

// Read reads on from the beginning.
func (h *handle) Read(p []byte) (int, error) {
	n, err := h.ReadAt(p, h.at)
	h.at += int64(n)
	return n, err
}

// Write writes at the end.
func (h *handle) Write(p []byte) (int, error) {
	if h.file == nil {
		return len(p), nil
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.disk.write(h.file, p)
}

// ReadAt reads what is there now: of a file of the image, as it was opened.
func (h *handle) ReadAt(p []byte, off int64) (n int, err error) {
	if h.image != nil {
		return h.image.ReadAt(p, off)
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if off < 0 {
		return 0, syscall.EINVAL
	}
	for n < len(p) {
		if off >= h.file.size {
			return n, io.EOF
		}
		block := h.file.blocks[off/blockSize]
		part := copy(p[n:], block[off%blockSize:min(blockSize, h.file.size-off/blockSize*blockSize)])
		n, off = n+part, off+int64(part)
	}
	return n, nil
}

// WriteAt writes anywhere. Of a file that is appended to, some clients count from the beginning of the
// file, and others from where it ended; what they send at once is written in any order.
func (h *handle) WriteAt(p []byte, off int64) (n int, err error) {
	if h.file == nil {
		return len(p), nil
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if off >= 0 && off < h.begun {
		h.shift = h.begun
	}
	off += h.shift
	if off < 0 || off > diskSize {
		return 0, syscall.EFBIG
	}
	if end := off + int64(len(p)); end > h.file.size {
		if err := h.disk.setSize(h.file, end); err != nil {
			return 0, err
		}
	}
	for n < len(p) {
		part := copy(h.file.blocks[off/blockSize][off%blockSize:], p[n:])
		n, off = n+part, off+int64(part)
	}
	h.file.mtime = h.disk.now()
	return n, nil
}

// Close may be called more than once.
func (h *handle) Close() error {
	if h.file == nil {
		return nil
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.once {
		return nil
	}
	h.once = true
	if h.file.open--; h.file.open == 0 && h.file.gone {
		h.disk.forget(h.file)
	}
	if c, is := h.image.(io.Closer); is {
		return c.Close()
	}
	return nil
}
