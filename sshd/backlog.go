package sshd

import (
	"sync"
	"time"

	"walt/fault"
)

const (
	// mostUnread is how much memory, in bytes, output that waits for its clients and
	// input that waits for commands may take, of all sessions together.
	mostUnread = 64 << 20
	// perWrite is what one write that waits is counted with, in bytes, besides what
	// it writes: for its session's buffers, and what the command has at hand to go on.
	perWrite = 128 << 10
	// perInput is what a session whose input waits is counted with, in bytes, besides
	// what comes after that.
	perInput = 2 * maxKept
	// unreadGrace is how long a client may be busy before it counts as one that does
	// not read.
	unreadGrace = time.Second
)

// errUnread and errNoReader are what users are told whose sessions end for it.
var (
	errUnread error = fault.New(fault.Interrupted, "closed: nobody read the output, and too much waits to be read").
			WithHint("read it as it comes, or write it to a file and look at that")
	errNoReader error = fault.New(fault.Interrupted, "closed: the command did not read its input, and too much waits to be read").
			WithHint("give no input to what reads none: ssh -n")
)

// backlog is the output that waits for its clients, and the input that waits for
// commands. When it takes too much memory, the session ends in which nothing was
// read for the longest.
type backlog struct {
	most  int // bytes
	grace time.Duration

	mu      sync.Mutex
	waiting map[*wait]struct{}
	bytes   int  // that all of them are counted with
	again   bool // somebody looks later: those who wait do so not long enough
}

// wait is one call of Write that is not done, or the input of one connection.
type wait struct {
	end   func(waited time.Duration) // ends its sessions; the backlog is locked
	bytes int
	since time.Time // when something of it was last read
}

func newBacklog() *backlog {
	return &backlog{most: mostUnread, grace: unreadGrace, waiting: map[*wait]struct{}{}}
}

// enter counts a write of n bytes until leave.
func (b *backlog) enter(n int, end func(waited time.Duration)) *wait {
	w := &wait{end: end, bytes: n + perWrite, since: time.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[w] = struct{}{}
	b.bytes += w.bytes
	b.relieve()
	return w
}

// took notes that the client took a part of what is written.
func (b *backlog) took(w *wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.since = time.Now()
}

func (b *backlog) leave(w *wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(w)
}

func (b *backlog) remove(w *wait) {
	if _, here := b.waiting[w]; here {
		delete(b.waiting, w)
		b.bytes -= w.bytes
	}
}

// count counts bytes more, or less, if it waits still. b.mu is held.
func (b *backlog) count(w *wait, bytes int) {
	if _, here := b.waiting[w]; here {
		w.bytes += bytes
		b.bytes += bytes
	}
}

// relieve ends sessions until there is little enough. b.mu is held.
func (b *backlog) relieve() {
	for b.bytes > b.most && !b.again {
		oldest := b.oldest()
		waited := time.Since(oldest.since)
		if waited < b.grace {
			b.again = true
			time.AfterFunc(b.grace-waited, b.lookAgain)
			return
		}
		b.remove(oldest)
		oldest.end(waited)
	}
}

func (b *backlog) lookAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = false
	b.relieve()
}

func (b *backlog) oldest() (oldest *wait) {
	for w := range b.waiting {
		if oldest == nil || w.since.Before(oldest.since) {
			oldest = w
		}
	}
	return oldest
}
