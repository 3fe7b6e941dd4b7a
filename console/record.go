package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	recordFile = "console.log"
	termFile   = "term" // says of which one the record is
	// recordSize is how many bytes of what a node wrote one file of two takes.
	recordSize = 2 << 20
	// A record takes what a serial line of 115200 baud brings without end, and some more at
	// once: what a node pours out beside it would wear the disk, and push out all the rest.
	recordRate  = 16 << 10 // bytes a second
	recordBurst = 1 << 20
)

// record is what a node wrote in one term, on the disk. It is not synchronised: the end of
// the host may take the last seconds.
type record struct {
	dir   string
	now   func() time.Time
	limit *rate.Limiter

	mu   sync.Mutex
	term string // "" until the first byte is written by this server
	file *Ring
	lost int64 // bytes since the last that was kept
}

func newRecord(dir string, now func() time.Time) *record {
	return &record{dir: dir, now: now, limit: rate.NewLimiter(recordRate, recordBurst)}
}

func (r *record) path() string { return filepath.Join(r.dir, recordFile) }

// write keeps what was written in a term, and drops what is kept of another one.
func (r *record) write(term string, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.term != term || r.file == nil {
		if err := r.begin(term); err != nil {
			return err
		}
	}
	if !r.limit.AllowN(r.now(), len(b)) {
		r.lost += int64(len(b))
		return nil
	}
	if r.lost > 0 {
		note := fmt.Sprintf("\r\n[walt: %d bytes were not kept: they came too fast, or there was no room]\r\n", r.lost)
		if _, err := io.WriteString(r.file, note); err != nil {
			r.lost += int64(len(b))
			return err
		}
		r.lost = 0
	}
	n, err := r.file.Write(b)
	r.lost += int64(len(b) - n)
	return err
}

// begin opens the record of a term; r.mu is held.
func (r *record) begin(term string) error {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	of, err := r.of()
	if err == nil && of != term { // first the content, so that never anything is taken for another term's
		err = r.drop()
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, termFile), []byte(term), 0o600)
		}
	}
	if err != nil {
		return err
	}
	r.term, r.lost = term, 0
	r.file, err = OpenRing(r.path(), recordSize)
	return err
}

// of is the term of what is on the disk, "" when there is nothing.
func (r *record) of() (string, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, termFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// drop removes what is kept, but for the name of its term.
func (r *record) drop() error {
	for _, name := range []string{r.path(), r.path() + olderSuffix} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove drops everything.
func (r *record) remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	return os.RemoveAll(r.dir)
}

// content is what is kept of a term. It stays what it is while more is written.
type content struct {
	io.Reader
	files []*os.File
	size  int64
}

// Close lets go of the files.
func (c *content) Close() error {
	var err error
	for _, f := range c.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// open returns what is kept of a term.
func (r *record) open(term string) (io.ReadCloser, error) { return r.openContent(term) }

func (r *record) openContent(term string) (*content, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &content{Reader: bytes.NewReader(nil)}
	of, err := r.of()
	if err != nil || of != term {
		return c, err
	}
	var parts []io.Reader
	for _, name := range []string{r.path() + olderSuffix, r.path()} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.files = append(c.files, f)
		is, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		parts = append(parts, io.NewSectionReader(f, 0, is.Size()))
		c.size += is.Size()
	}
	c.Reader = io.MultiReader(parts...)
	return c, nil
}

// last returns the last bytes, at most so many, that are kept of a term.
func (r *record) last(term string, most int64) ([]byte, error) {
	c, err := r.openContent(term)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.CopyN(io.Discard, c, max(0, c.size-most)); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}
