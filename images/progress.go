package images

import (
	"io"
	"sync"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Progress is how far a download or an upload is. Done and Total of the whole
// image leave out what was there before. A layer is reported once, when it is
// finished; the image several times a second, and last of all as finished.
type Progress struct {
	Layer       string // digest of the layer, "" for the whole image
	Done, Total int64  // bytes
	Finished    bool
}

// tally adds the progress of the parts of an image up for one who asked. Its
// reports come one at a time.
type tally struct {
	report func(Progress)

	mu          sync.Mutex
	done, total int64
	parts       map[v1.Hash]int64 // bytes that are done
}

// newTally counts the descriptors that are to come; report may be nil.
func newTally(report func(Progress), todo []v1.Descriptor) *tally {
	if report == nil {
		report = func(Progress) {}
	}
	t := &tally{report: report, parts: map[v1.Hash]int64{}}
	for _, d := range todo {
		if _, twice := t.parts[d.Digest]; !twice {
			t.parts[d.Digest] = 0
			t.total += d.Size
		}
	}
	return t
}

// at notes that n bytes of the part are done.
func (t *tally) at(d v1.Descriptor, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(d.Digest, n)
}

// finish notes that the part is done.
func (t *tally) finish(d v1.Descriptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, counted := t.parts[d.Digest]; !counted {
		return
	}
	t.report(Progress{Layer: d.Digest.String(), Done: d.Size, Total: d.Size, Finished: true})
	t.set(d.Digest, d.Size)
}

func (t *tally) set(part v1.Hash, n int64) {
	before, counted := t.parts[part]
	if !counted || n == before {
		return
	}
	t.parts[part] = n
	t.done += n - before
	t.report(Progress{Done: t.done, Total: t.total})
}

// end notes that all is done.
func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report(Progress{Done: t.total, Total: t.total, Finished: true})
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
