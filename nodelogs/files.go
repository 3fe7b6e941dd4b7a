package nodelogs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"walt/auth"
	"walt/ethernet"
)

// segmentSize is how large a file becomes before the next one begins, in bytes: what is
// removed is whole files.
const segmentSize = 256 << 10

// nodeLog is the lines of one node. Store.mu guards it.
type nodeLog struct {
	node     ethernet.MAC
	segments []segment // the oldest first
	size     int64     // of these
	waiting  []byte    // lines that are in memory alone
	first    int64     // time of the first of them
	owner    auth.Name // of the last of them
	lost     int       // lines that the disk did not take, and nobody was told of
	cut      bool      // the last file may end in the middle of a line: a server died, or the disk failed
}

// segment is a file of lines, which is named after the time of its first one.
type segment struct {
	first int64 // microseconds since 1970
	size  int64
}

const segmentEnd = ".log"

// folder is where the files of a node are.
func (s *Store) folder(node ethernet.MAC) string {
	return filepath.Join(s.dir, strings.ReplaceAll(string(node), ":", "-"))
}

func (s *Store) path(node ethernet.MAC, first int64) string {
	return filepath.Join(s.folder(node), strconv.FormatInt(first, 10)+segmentEnd)
}

// load finds which files there are.
func (s *Store) load() error {
	folders, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range folders {
		node, bad := ethernet.ParseMAC(strings.ReplaceAll(f.Name(), "-", ":"))
		if bad != nil {
			continue // of somebody else
		}
		segments, failed := s.segmentsIn(node)
		last, cut, unread := s.endOf(node, segments)
		err = errors.Join(err, failed, unread)
		s.mu.Lock()
		l := s.logs[node]
		if l == nil {
			l = &nodeLog{node: node}
			s.logs[node] = l
		}
		l.segments, l.cut = segments, cut
		for _, g := range segments {
			l.size += g.size
		}
		s.last = max(s.last, last)
		s.size += l.size
		s.mu.Unlock()
	}
	return err
}

// segmentsIn returns which files of a node there are, the oldest first.
func (s *Store) segmentsIn(node ethernet.MAC) (all []segment, err error) {
	files, err := os.ReadDir(s.folder(node))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name, ours := strings.CutSuffix(f.Name(), segmentEnd)
		first, bad := strconv.ParseInt(name, 10, 64)
		info, gone := f.Info()
		if ours && bad == nil && gone == nil {
			all = append(all, segment{first, info.Size()})
		}
	}
	slices.SortFunc(all, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	return all, nil
}

// endOf returns the time of the last line of a node, and whether its last file is cut.
func (s *Store) endOf(node ethernet.MAC, segments []segment) (last int64, cut bool, err error) {
	if len(segments) == 0 {
		return 0, false, nil
	}
	g := segments[len(segments)-1]
	f, err := os.Open(s.path(node, g.first))
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	tail := make([]byte, min(g.size, 2*mostLine))
	if _, err := f.ReadAt(tail, g.size-int64(len(tail))); err != nil {
		return 0, false, err
	}
	last = g.first
	for line := range bytes.SplitSeq(tail, []byte("\n")) {
		if l, ok := parseLine(node, line); ok && l.Time.UnixMicro() > last {
			last = l.Time.UnixMicro()
		}
	}
	return last, !bytes.HasSuffix(tail, []byte("\n")), nil
}

// flush brings the lines that wait to their files, and keeps to the limits.
func (s *Store) flush() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.flushLocked()
}

// batch is the lines of a node that go to one of its files together.
type batch struct {
	*nodeLog
	lines []byte
	to    segment
	owner auth.Name // of the last of them
	fresh bool      // the file is a new one
	wrote int       // bytes that are in the file now
	err   error     // why not all of them are
}

// flushLocked is flush of who holds writing. All that came until now is there for readers at
// once: what one of them has not seen yet is later than what it has.
func (s *Store) flushLocked() {
	<-s.ready
	s.mu.Lock()
	waited := s.waiting
	var batches []batch
	for _, l := range s.dirty {
		batches = append(batches, l.take())
	}
	s.dirty = nil
	s.mu.Unlock()
	if len(batches) == 0 {
		return
	}
	var err error
	for i := range batches {
		b := &batches[i]
		b.wrote, b.err = s.appendTo(b.node, b.to, b.lines)
		err = cmp.Or(err, b.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		b.grow(int64(b.wrote))
		s.size += int64(b.wrote)
		switch {
		case b.err != nil:
			b.cut = true
			b.lost += bytes.Count(b.lines, []byte("\n"))
		case b.lost > 0:
			s.keep(b.node, b.owner, ours, fmt.Sprintf("%d lines before these were lost: the disk of the server did not take them", b.lost))
			b.lost = 0
		}
	}
	s.waiting -= waited
	if err != nil && !s.failing {
		s.log.Error("what nodes say is lost: it cannot be written", "err", err)
	}
	s.failing = err != nil
	s.trim(batches)
	close(s.flushed)
	s.flushed = make(chan struct{})
}

// take returns the lines of a node that wait, for a file.
func (l *nodeLog) take() batch {
	b := batch{nodeLog: l, lines: l.waiting, to: segment{first: l.first}, owner: l.owner, fresh: true}
	l.waiting = nil
	if n := len(l.segments); n > 0 && l.segments[n-1].size < segmentSize {
		b.to, b.fresh = l.segments[n-1], false
		if l.cut {
			b.lines = append([]byte("\n"), b.lines...)
		}
	}
	l.cut = false
	return b
}

// grow notes how much reached the file.
func (b *batch) grow(n int64) {
	b.to.size += n
	if b.fresh && n > 0 {
		b.segments = append(b.segments, b.to)
	} else if !b.fresh {
		b.segments[len(b.segments)-1] = b.to
	}
	b.size += n
}

// appendTo appends lines to a file, which it makes if it is to be a new one. After an error as much
// of them is there as it returns, which is nothing unless the disk does not even take that back.
func (s *Store) appendTo(node ethernet.MAC, at segment, lines []byte) (wrote int, err error) {
	name := s.path(node, at.first)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
			f, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return 0, err
	}
	wrote, err = f.Write(lines)
	if err != nil { // half a line would be taken for one
		if stays := f.Truncate(at.size); stays == nil {
			wrote = 0
		}
	}
	return wrote, errors.Join(err, f.Close())
}

// trim removes the oldest files of the nodes that have more than they may, and then of
// those that have most, until all is within the limits. The caller holds both locks.
func (s *Store) trim(changed []batch) {
	for _, l := range changed {
		for l.size > s.limits.Each && len(l.segments) > 1 {
			s.removeOldest(l.nodeLog)
		}
	}
	for s.size > s.limits.Size {
		var most *nodeLog
		for _, l := range s.logs {
			if len(l.segments) > 1 && (most == nil || l.size > most.size) {
				most = l
			}
		}
		if most == nil {
			return // each has but one
		}
		for begun := most.size; len(most.segments) > 1 && s.size > s.limits.Size && most.size > begun*7/8; { // not a search for each
			s.removeOldest(most)
		}
	}
}

// removeOldest removes the oldest file of a node. The caller holds both locks.
func (s *Store) removeOldest(l *nodeLog) {
	g := l.segments[0]
	if err := os.Remove(s.path(l.node, g.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("remove old lines of a node", "err", err)
	}
	l.segments = l.segments[1:]
	l.size -= g.size
	s.size -= g.size
}

// sweep removes the files whose lines are all too old.
func (s *Store) sweep() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limits.Age <= 0 {
		return
	}
	old := s.now().Add(-s.limits.Age).UnixMicro()
	for node, l := range s.logs {
		for len(l.segments) > 0 && s.newestOf(l) < old {
			s.removeOldest(l)
		}
		if len(l.segments) == 0 && len(l.waiting) == 0 {
			delete(s.logs, node)
			os.Remove(s.folder(node)) // else it is in the way of nobody
		}
	}
}

// newestOf is about when the last line of a node's oldest file came.
func (s *Store) newestOf(l *nodeLog) int64 {
	if len(l.segments) > 1 {
		return l.segments[1].first
	}
	if info, err := os.Stat(s.path(l.node, l.segments[0].first)); err == nil {
		return info.ModTime().UnixMicro()
	}
	return l.segments[0].first
}
