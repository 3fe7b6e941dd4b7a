package commands

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/clipperhouse/displaywidth"
)

// fleetingLine is the line of a terminal that the next output takes the place of. Who waits
// shows there for what; what nodes wait for themselves may be drawn there meanwhile, by a
// goroutine of its own, so mu guards whatever is written.
type fleetingLine struct {
	mu      sync.Mutex
	shown   bool
	pending string // what drawPending shows there; "": that is not shown
}

// fleeting shows what the next output takes the place of: a line of a terminal that
// leaves room for "^C".
func (c *Call) fleeting(format string, args ...any) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	c.draw(format, args...)
	c.fleet.pending = ""
}

// draw is fleeting. c.fleet.mu is held.
func (c *Call) draw(format string, args ...any) {
	line := clean(fmt.Sprintf(format, args...))
	if width := c.room(); width > 0 {
		line = displaywidth.TruncateString(line, width, "")
	}
	io.WriteString(c.Err, wiped+line)
	c.fleet.shown = true
}

// room is how many columns a line has that leaves room for "^C", 0 if the width of the terminal
// is not known.
func (c *Call) room() int {
	width, _ := c.Terminal.Size()
	if width <= 0 {
		return 0
	}
	return max(width-len("^C")-1, 1)
}

// wiped empties the line of a terminal.
const wiped = "\r\x1b[K"

// wipe takes away what is shown in the line of a terminal.
func (c *Call) wipe() {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	c.empty()
}

// empty is wipe. c.fleet.mu is held.
func (c *Call) empty() {
	io.WriteString(c.Err, wiped)
	c.fleet.shown, c.fleet.pending = false, ""
}

// write has something written in place of what is shown in the line of a terminal.
func (c *Call) write(f func()) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	if c.fleet.pending != "" {
		c.pending.tell()
	}
	if c.fleet.shown {
		c.empty()
	}
	f()
}

// pending is what nodes wait for, of the work that a command began.
type pending struct {
	mu      sync.Mutex
	all     []*pendingStep
	changed chan struct{} // holds one when all is not what it was
}

// pendingStep is that a node waits for something.
type pendingStep struct{ node, what string }

func newPending() *pending { return &pending{changed: make(chan struct{}, 1)} }

// begin is for await.Watched. It does not wait for the client to read.
func (p *pending) begin(node, what string) (end func()) {
	s := &pendingStep{node, what}
	p.mu.Lock()
	p.all = append(p.all, s)
	p.mu.Unlock()
	p.tell()
	return func() {
		p.mu.Lock()
		p.all = slices.DeleteFunc(p.all, func(is *pendingStep) bool { return is == s })
		p.mu.Unlock()
		p.tell()
	}
}

// tell has the line be drawn anew.
func (p *pending) tell() {
	select {
	case p.changed <- struct{}{}:
	default: // it is about to be
	}
}

// String is what the node waits for that waits for longest, and how many others wait, as in
// "rpi-3 (switching rack1:7 off) and 2 more"; "" when none does.
func (p *pending) String() string { return p.within(0) }

// within is String of which so many columns tell how many wait, 0 for any number: if need be
// without what is waited for, or without the name of the node.
func (p *pending) within(columns int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) == 0 {
		return ""
	}
	first := *p.all[0]
	nodes := map[string]bool{}
	for _, s := range p.all {
		nodes[s.node] = true
		if s.node == first.node { // what began within it
			first.what = s.what
		}
	}
	what, more := fmt.Sprintf("%s (%s)", first.node, first.what), len(nodes)-1
	if more == 0 {
		return what
	}
	for _, words := range []string{what, first.node} {
		if words += fmt.Sprintf(" and %d", more); columns <= 0 || displaywidth.String(words) <= columns {
			return words + " more"
		}
	}
	return fmt.Sprintf("%d nodes", len(nodes))
}

// showPending shows on a terminal, until end is called, what nodes wait for. What is over soon
// is not shown.
func (c *Call) showPending() (end func()) {
	if !c.fancy() {
		return func() {}
	}
	over := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() { // ends with end
		for {
			select {
			case <-c.pending.changed:
			case <-over:
				return
			}
			select {
			case <-time.After(barEvery):
				c.drawPending()
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		drawing.Wait()
		c.fleet.mu.Lock()
		defer c.fleet.mu.Unlock()
		if c.fleet.pending != "" {
			c.empty()
		}
	}
}

// drawPending shows what nodes wait for now.
func (c *Call) drawPending() {
	const line = "Waiting for "
	columns := 0
	if width := c.room(); width > 0 {
		columns = max(width-len(line), 1)
	}
	what := c.pending.within(columns)
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	switch {
	case what == c.fleet.pending:
	case what == "":
		c.empty()
	default:
		c.draw(line+"%s ...", what)
		c.fleet.pending = what
	}
}
