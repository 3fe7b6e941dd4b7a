package qemu

import (
	"errors"
	"io"
	"os"
)

// ring is a file that is written to without end: when it is full it becomes the
// older one, in place of the older one before.
type ring struct {
	name string
	size int64 // in bytes, of one file at most
	file *os.File
	used int64
}

func openRing(name string, size int64) (*ring, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	used, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &ring{name, size, f, used}, nil
}

func (r *ring) older() string { return r.name + ".old" }

// Write keeps b, of which a part larger than a file is cut off in front.
func (r *ring) Write(b []byte) (int, error) {
	n := len(b)
	if b = b[max(0, len(b)-int(r.size)):]; r.used+int64(len(b)) > r.size {
		if err := r.turn(); err != nil {
			return 0, err
		}
	}
	w, err := r.file.Write(b)
	r.used += int64(w)
	if err != nil {
		return w, err
	}
	return n, nil
}

// turn begins a new file.
func (r *ring) turn() error {
	if err := os.Rename(r.name, r.older()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(r.name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r.file.Close()
	r.file, r.used = f, 0
	return nil
}

// content returns what is kept, the oldest first.
func (r *ring) content() ([]byte, error) {
	older, err := os.ReadFile(r.older())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	newer, err := os.ReadFile(r.name)
	return append(older, newer...), err
}

func (r *ring) Close() error { return r.file.Close() }
