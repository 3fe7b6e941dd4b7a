package console

import (
	"errors"
	"io"
	"os"
)

// Ring is a file that is written to without end: when it is full it becomes the
// older one, in place of the older one before.
type Ring struct {
	name string
	size int64 // in bytes, of one file at most
	file *os.File
	used int64
}

// OpenRing opens the ring of a file of at most size bytes, as large as which the older one
// beside it is.
func OpenRing(name string, size int64) (*Ring, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	used, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Ring{name, size, f, used}, nil
}

const olderSuffix = ".old"

func (r *Ring) older() string { return r.name + olderSuffix }

// Write keeps b, of which a part larger than a file is cut off in front.
func (r *Ring) Write(b []byte) (int, error) {
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
func (r *Ring) turn() error {
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

// Content returns what is kept, the oldest first.
func (r *Ring) Content() ([]byte, error) {
	older, err := os.ReadFile(r.older())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	newer, err := os.ReadFile(r.name)
	return append(older, newer...), err
}

// Close ends the writing.
func (r *Ring) Close() error { return r.file.Close() }
