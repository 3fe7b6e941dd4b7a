// Package console has the serial lines of nodes: it keeps what nodes write there, shows it
// to those who sit at them, and brings what one of these types. Whose a node is, and who may
// sit there, is asked of nodes; what a machine's line is connected to, vnode/qemu knows. Its
// one surprising rule: what is kept is of one term, the time for which a node is somebody's
// or nobody's. With the first byte of the next term all of it is gone.
package console

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"walt/ethernet"
)

// Config is what Lines are made of.
type Config struct {
	Dir string // where what nodes write is kept
	// Term says in which term a node writes now, in words that are those of no other one;
	// "" when what it writes is for nobody who has the node now. May be set after New.
	Term func(ethernet.MAC) string
	Own  int // the port of the server's SSH, at which no serial line is
	Log  *slog.Logger
	Now  func() time.Time
}

// Lines are the serial lines of all nodes.
type Lines struct {
	Config
	again  time.Duration // after how long a connection that failed is made anew at first
	steady time.Duration // for how long one lasts that did not fail

	services atomic.Pointer[[]string] // see SetServices

	mu     sync.Mutex
	lines  map[ethernet.MAC]*Line
	links  map[ethernet.MAC]*link // to boards
	closed bool
}

// New returns the lines; Close ends what they are connected to by Connect.
func New(c Config) *Lines {
	return &Lines{
		Config: c, again: time.Second, steady: 10 * time.Second,
		lines: map[ethernet.MAC]*Line{}, links: map[ethernet.MAC]*link{},
	}
}

// Of returns the line of a node.
func (s *Lines) Of(mac ethernet.MAC) *Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[mac]
	if l == nil {
		l = &Line{
			term: func() string { return s.Term(mac) }, changed: make(chan struct{}), why: "it is off",
			kept: newRecord(filepath.Join(s.Dir, folder(mac)), s.Now), log: s.Log.With("mac", string(mac)),
		}
		s.lines[mac] = l
	}
	return l
}

// Sweep forgets what was kept of all nodes but some.
func (s *Lines) Sweep(but func(ethernet.MAC) bool) error {
	dirs, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range dirs {
		mac, parseErr := ethernet.ParseMAC(d.Name())
		if parseErr != nil || but(mac) {
			continue // it is nothing of ours, or wanted
		}
		err = errors.Join(err, s.Forget(mac))
	}
	return err
}

// Forget ends the line of a node that is gone, and drops what was kept of it.
func (s *Lines) Forget(mac ethernet.MAC) error {
	s.Connect(mac, Target{})
	s.mu.Lock()
	l := s.lines[mac]
	delete(s.lines, mac)
	s.mu.Unlock()
	if l != nil {
		return l.kept.remove()
	}
	return os.RemoveAll(filepath.Join(s.Dir, folder(mac)))
}

// Close ends the connections to boards.
func (s *Lines) Close() {
	s.mu.Lock()
	s.closed = true
	var all []*link
	for mac, k := range s.links {
		all = append(all, k)
		delete(s.links, mac)
	}
	s.mu.Unlock()
	for _, k := range all {
		k.end()
	}
}

// folder is the name of a node's directory.
func folder(mac ethernet.MAC) string { return strings.ReplaceAll(string(mac), ":", "") }

// link is the connection to the serial line of a board, or the attempt to have one.
type link struct {
	target Target
	cancel context.CancelFunc
	over   chan struct{}
}

func (k *link) end() {
	k.cancel()
	<-k.over
}

// Connect has the line of a node lead to a target from now on, and to nothing with the
// zero Target. What fails is tried again until then.
func (s *Lines) Connect(mac ethernet.MAC, t Target) {
	s.mu.Lock()
	before := s.links[mac]
	if s.closed || before == nil && t == (Target{}) || before != nil && before.target == t {
		s.mu.Unlock()
		return
	}
	delete(s.links, mac)
	var next *link
	var ctx context.Context
	if t != (Target{}) {
		next = &link{target: t, over: make(chan struct{})}
		ctx, next.cancel = context.WithCancel(context.Background())
		s.links[mac] = next
	}
	s.mu.Unlock()
	if before != nil {
		before.end()
	}
	if next == nil {
		return
	}
	line := s.Of(mac)
	go func() { // ends with ctx: Connect and Close end it
		defer close(next.over)
		s.hold(ctx, line, t)
	}()
}
