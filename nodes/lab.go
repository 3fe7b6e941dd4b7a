// Package nodes is the heart of the lab: its devices, who owns which node, and
// what happens when that changes. It draws no screens and asks no questions:
// what needs a user's consent is returned as facts and called again with them.
// Its one surprising rule: ownership is never recorded; the owner of a node is
// the user whose image it boots, and only enroll and change.boot write that.
package nodes

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/images"
	"walt/journal"
	"walt/power/snmp"
	"walt/remote"
	"walt/state"
)

// Config is what a Lab works with.
type Config struct {
	Store   state.Store
	Journal *journal.Journal
	Images  *images.Catalog   // whose Nodes are this lab
	Hosts   map[HostKind]Host // of virtual nodes; may be set after New, before anything else is called
	Key     ssh.Signer        // that nodes trust: the lab's own way into them
	IP      string            // of the server, "" when it has several
	Log     *slog.Logger
	Now     func() time.Time
	// Duties says which of the background work this server does; nil: all of it.
	Duties state.Duties
	// Dial speaks to a switch; nil: over SNMP.
	Dial func(snmp.Switch) (Agent, error)
}

// Lab is all devices of one store.
type Lab struct {
	Config
	status   *board
	visitors remote.Visitors
	lines    *lines
	works    sync.WaitGroup // what goes on though nobody waits for it, each for a limited time
	idle     atomic.Int64   // a time.Duration
	// Each holds one token while there may be something new for its loop: an
	// order for a port, an idle node, a node that moved.
	port, save, scan chan struct{}
}

// New returns the lab; Run makes it live.
func New(c Config) *Lab {
	if c.Duties == nil {
		c.Duties = state.Alone{}
	}
	if c.Dial == nil {
		c.Dial = agentOf
	}
	token := func() chan struct{} { return make(chan struct{}, 1) }
	return &Lab{
		Config: c, status: newBoard(c.Now), lines: newLines(c.Dial),
		port: token(), save: token(), scan: token(),
	}
}

// Run starts the virtual nodes, which also finishes every change of an image
// whose reboot an earlier end of the server cut off, and carries out what was
// ordered of ports. Then it saves power and watches over nodes. It returns when
// ctx ends.
func (l *Lab) Run(ctx context.Context) error {
	defer l.works.Wait()
	all, err := state.Read(ctx, l.Store, everything)
	if err != nil && ctx.Err() == nil {
		return err
	}
	for _, d := range all {
		if d.Kind == Node && d.Virtual() {
			l.start(d, 0)
		}
	}
	if err := l.recallAddresses(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{l.watchdog, l.probe} { // of what this server sees
		g.Go(func() error { return loop(ctx) })
	}
	for name, duty := range map[string]func(context.Context) error{
		"ports": l.ports, "saver": l.saver, "discovery": l.scanner,
	} {
		g.Go(func() error { return l.Duties.Hold(ctx, name, duty) })
	}
	return g.Wait()
}
