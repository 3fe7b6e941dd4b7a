package nodelogs

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"walt/ethernet"
)

// Query is which lines are wanted.
type Query struct {
	Nodes  func(ethernet.MAC) bool // of these nodes
	From   time.Time               // and not before
	Until  time.Time               // and before; the zero time: for ever
	Wanted func(Line) bool         // and of these those
}

// Read shows the lines that there are, some at a time, in their order.
func (s *Store) Read(ctx context.Context, q Query, show func([]Line) error) error {
	s.flush()
	_, err := s.show(ctx, q, s.positions(q, nil), show)
	return err
}

// Follow is Read, and then shows what comes, until ctx ends, which is no error, or q.Until
// has passed. lost says that some were removed before they were shown: who is slow gets
// less, and holds nobody up.
func (s *Store) Follow(ctx context.Context, q Query, show func(lines []Line, lost bool) error) error {
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Until.Sub(s.now()))
		defer cancel()
	}
	s.flush()
	var had map[ethernet.MAC]place
	for {
		s.mu.Lock()
		flushed := s.flushed // before it is looked what there is
		s.mu.Unlock()
		at := s.positions(q, had)
		lost, err := s.show(ctx, q, at, func(lines []Line) error { return show(lines, false) })
		if lost && err == nil {
			err = show(nil, true)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		had = map[ethernet.MAC]place{}
		for _, p := range at {
			had[p.node] = p.end()
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Last returns the last n of the lines that there are, in their order.
func (s *Store) Last(ctx context.Context, q Query, n int) (last []Line, err error) {
	s.flush()
	for _, p := range s.positions(q, nil) {
		some := 0 // of this node
		for _, g := range slices.Backward(p.segments) {
			part := position{node: p.node, segments: []segment{g}}
			var found []Line
			if _, err := s.show(ctx, q, []position{part}, func(lines []Line) error {
				found = append(found, lines...)
				found = found[max(0, len(found)-n):]
				return nil
			}); err != nil {
				return nil, err
			}
			last = append(last, found...)
			if some += len(found); some >= n {
				break
			}
		}
		if len(last) > 2*n+page {
			last = newest(last, n)
		}
	}
	return newest(last, n), nil
}

// newest returns the newest n of the lines, in their order.
func newest(lines []Line, n int) []Line {
	slices.SortFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	return slices.Clone(lines[max(0, len(lines)-n):])
}

// place is one in the files of a node.
type place struct {
	first  int64 // the segment's
	offset int64 // in it
}

// position is what is still to be read of a node.
type position struct {
	node     ethernet.MAC
	segments []segment // as large as they were
	offset   int64     // in the first of them
	lost     bool      // there were more
}

// end is behind what is to be read.
func (p position) end() place {
	if len(p.segments) == 0 {
		return place{}
	}
	g := p.segments[len(p.segments)-1]
	return place{g.first, g.size}
}

// positions returns what there is of the nodes that a query asks for, behind what was had
// before if that is known, else from where the first wanted line may be.
func (s *Store) positions(q Query, had map[ethernet.MAC]place) (all []position) {
	from := q.From.UnixMicro()
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := from > s.last // so that nothing there is wanted, which is usual for who follows
	for node, l := range s.logs {
		if len(l.segments) == 0 || !q.Nodes(node) {
			continue
		}
		p := position{node: node, segments: slices.Clone(l.segments)}
		if at, known := had[node]; known {
			p.skip(at)
		} else if ahead {
			p.skip(p.end())
		} else {
			i, _ := slices.BinarySearchFunc(p.segments, from, func(g segment, from int64) int { return cmp.Compare(g.first, from) })
			p.segments = p.segments[max(0, i-1):]
		}
		all = append(all, p)
	}
	return all
}

// skip has the position begin at a place.
func (p *position) skip(at place) {
	i, here := slices.BinarySearchFunc(p.segments, at.first, func(g segment, first int64) int { return cmp.Compare(g.first, first) })
	p.segments = p.segments[i:]
	if here {
		p.offset = at.offset
	}
	p.lost = !here && at.first != 0
}

// page is how many lines are shown at once, at most.
const page = 256

// show shows the wanted lines at the positions. It reports whether some were lost.
func (s *Store) show(ctx context.Context, q Query, at []position, show func([]Line) error) (lost bool, err error) {
	from, until := q.From, q.Until
	chunk := min(max(4<<20/max(1, len(at)), 4<<10), 64<<10)
	var next cursors
	for _, p := range at {
		c := &cursor{store: s, position: p, chunk: chunk}
		if err := c.advance(); err != nil {
			return false, err
		}
		lost = lost || c.lost
		if !c.over {
			next = append(next, c)
		}
	}
	heap.Init(&next)
	var lines []Line
	for len(next) > 0 {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c := next[0]
		l := c.line
		if err := c.advance(); err != nil {
			return false, err
		}
		lost = lost || c.lost
		if c.over {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
		if !l.Time.Before(from) && (until.IsZero() || l.Time.Before(until)) && q.Wanted(l) {
			lines = append(lines, l)
		}
		if len(lines) == page {
			if err := show(lines); err != nil {
				return false, err
			}
			lines = nil
		}
	}
	if len(lines) > 0 {
		err = show(lines)
	}
	return lost, err
}

// cursor reads the lines of one node, one after the other.
type cursor struct {
	store *Store
	position
	chunk int    // how much is read of a file at once, in bytes
	buf   []byte // read, and not parsed yet
	line  Line
	over  bool // line is none: there is no more
}

// advance goes on to the next line. No file is open meanwhile.
func (c *cursor) advance() error {
	for {
		if i := bytes.IndexByte(c.buf, '\n'); i >= 0 {
			line, ok := parseLine(c.node, c.buf[:i])
			c.buf = c.buf[i+1:]
			if ok {
				c.line = line
				return nil
			}
			continue
		}
		for len(c.segments) > 0 && c.offset >= c.segments[0].size {
			c.segments, c.offset, c.buf = c.segments[1:], 0, nil
		}
		if len(c.segments) == 0 {
			c.over = true
			return nil
		}
		if err := c.fill(); errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			c.lost, c.offset = true, c.segments[0].size
		} else if err != nil {
			return err
		}
	}
}

// fill reads on in the file.
func (c *cursor) fill() error {
	f, err := os.Open(c.store.path(c.node, c.segments[0].first))
	if err != nil {
		return err
	}
	defer f.Close()
	more := make([]byte, min(int64(c.chunk), c.segments[0].size-c.offset))
	n, err := f.ReadAt(more, c.offset)
	c.buf, c.offset = append(c.buf, more[:n]...), c.offset+int64(n)
	if errors.Is(err, io.EOF) { // somebody cut it
		c.offset = c.segments[0].size
		err = nil
	}
	return err
}

// cursors are a heap, on top of which is who has the oldest line.
type cursors []*cursor

func (c cursors) Len() int           { return len(c) }
func (c cursors) Less(i, j int) bool { return c[i].line.Time.Before(c[j].line.Time) }
func (c cursors) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *cursors) Push(x any)        { *c = append(*c, x.(*cursor)) }
func (c *cursors) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}
