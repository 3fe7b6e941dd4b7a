package source

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"walt/images/content"
)

// Progress is how far a download or an upload is. Done and Total of the whole
// image leave out what was there before. A layer is reported once, when it is
// finished; the image several times a second, and last of all as finished.
type Progress struct {
	Layer       string // digest of the layer, "" for the whole image
	Done, Total int64  // bytes
	Finished    bool
	// Note is a sentence for whoever waits; the report is of nothing else then.
	Note string
}

// counter adds up the progress of the parts of an image for one who asked. Its
// reports come one at a time.
type counter struct {
	report func(Progress)

	mu          sync.Mutex
	done, total int64
	parts       map[content.Digest]int64 // bytes that are done

	from    fmt.Stringer  // what is waited for when nothing comes
	after   time.Duration // for so long; 0 is never
	changed time.Time     // when something came
	said    bool          // that nothing comes
}

// watch has who waits told what for when nothing comes for some time.
func (c *counter) watch(from fmt.Stringer, after time.Duration) {
	c.from, c.after, c.changed = from, after, time.Now()
}

// note tells who waits a sentence.
func (c *counter) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Progress{Note: text})
}

// newCounter counts the blobs that are to come; report may be nil.
func newCounter(report func(Progress), todo []content.Blob) *counter {
	if report == nil {
		report = func(Progress) {}
	}
	c := &counter{report: report, parts: map[content.Digest]int64{}}
	for _, b := range todo {
		if _, twice := c.parts[b.Digest]; !twice {
			c.parts[b.Digest] = 0
			c.total += b.Size
		}
	}
	return c
}

// at notes that n bytes of the part are done; step is what is waited for, "" when
// that needs no word.
func (c *counter) at(b content.Blob, n int64, step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(b.Digest, n)
	if step != "" && n < b.Size && c.after > 0 && !c.said && time.Since(c.changed) > c.after {
		c.said = true
		c.report(Progress{Note: fmt.Sprintf("Waiting for %s: %s.", c.from, step)})
	}
}

// finish notes that the part is done.
func (c *counter) finish(b content.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, counted := c.parts[b.Digest]; !counted {
		return
	}
	c.report(Progress{Layer: string(b.Digest), Done: b.Size, Total: b.Size, Finished: true})
	c.set(b.Digest, b.Size)
	c.said = false
}

func (c *counter) set(part content.Digest, n int64) {
	before, counted := c.parts[part]
	if !counted || n == before {
		return
	}
	c.parts[part] = n
	c.changed = time.Now()
	c.done += n - before
	c.report(Progress{Done: c.done, Total: c.total})
}

// end notes that all is done.
func (c *counter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Progress{Done: c.total, Total: c.total, Finished: true})
}

// countingReader counts what is read.
type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
