package nodes

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/auth"
	"walt/console"
	"walt/images"
	"walt/journal"
	"walt/power"
	"walt/remote"
	"walt/state"
)

// Config is what a Lab works with.
type Config struct {
	Store   state.Store
	Journal *journal.Journal
	Users   *auth.Users
	Images  *images.Catalog   // whose Nodes are this lab
	Ports   *power.Ports      // whose Devices are this lab
	Hosts   map[HostKind]Host // of virtual nodes; may be set after New, before anything else is called
	// Machines knows what nodes that are machines can boot; nil: anything. It may be set
	// after New, as Hosts.
	Machines Machines
	// Boards says that physical nodes boot from this server, too.
	Boards bool
	Agents Agents     // of machines; may be set as Hosts are; nil: none
	Key    ssh.Signer // that nodes trust: the lab's own way into them
	// Platforms are what machines of a model run, as in linux/arm/v7, the best first; none: not
	// known. nil knows none.
	Platforms func(images.Model) []string
	IP        string      // of the server, "" when it has several
	Creates   Creates     // what Create makes; nil: simulated nodes
	Dial      remote.Dial // the way to nodes; nil: that of the host
	Doors     Doors       // what opens ports of the server; may be set as Hosts are; nil: nothing does
	// Own reports whether an address is the server's own on a network that Dial reaches, but
	// for those of the host; nil: there is none.
	Own func(netip.Addr) bool
	// Lines are the serial lines of nodes, whose Term is that of this lab; nil: no node has a console.
	Lines *console.Lines
	// OnTroubles is called when Troubles returns something else; may be set as Hosts are.
	OnTroubles func()
	Log        *slog.Logger
	Now        func() time.Time
	// Duties says which of the background work this server does; nil: all of it.
	Duties state.Duties
}

// Lab is all devices of one store.
type Lab struct {
	Config
	status      *board
	view        *view
	stateLog    *stateLog
	losses      *losses
	troubles    troubles
	entrance    entrance
	unnoted     unnoted
	visitors    remote.Visitors
	files       remote.Files
	guests      remote.Visitors // those of them who reach a node since its owner shares it
	offers      offers
	heard       heard
	tests       sync.Map               // of the MAC addresses of nodes that are tested: who does
	limits      atomic.Pointer[Limits] // nil: none
	holds       atomic.Pointer[Holds]  // nil: the zero Holds
	exposable   atomic.Pointer[PortRange]
	warned      warned
	ties        *ties
	found       chan struct{} // see Found
	seen        sync.Once     // of closing it
	waiters     *waiters
	patienceSet atomic.Int64   // see SetPatience
	wiring      sync.Mutex     // held while serial lines of boards are connected
	works       sync.WaitGroup // what goes on though nobody waits for it, each for a limited time
}

// New returns the lab; Run makes it live.
func New(c Config) *Lab {
	if c.Duties == nil {
		c.Duties = state.Alone{}
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	waiters := newWaiters()
	pool := newPool(waiters.stir)
	status := newBoard(c.Now, pool)
	l := &Lab{
		Config: c, waiters: waiters, status: status, view: newView(c.Store, pool), losses: newLosses(), ties: newTies(), troubles: troubles{now: map[string]Trouble{}, told: map[string]time.Time{}}, found: make(chan struct{}),
		stateLog: &stateLog{store: c.Store, journal: c.Journal, status: status, log: c.Log, now: c.Now},
	}
	l.SetPatience(patience)
	return l
}

// Run starts the virtual nodes that are not switched off, which also finishes every change of an image
// whose reboot an earlier end of the server cut off; those of nodes with a port
// are finished by Ports, which runs by itself. Then it watches over nodes. It
// returns when ctx ends.
func (l *Lab) Run(ctx context.Context) error {
	defer l.works.Wait()
	virtual, err := read(ctx, l.view, func() []*Device {
		return l.view.which(func(d *Device) bool { return d.Kind == Node && d.Virtual() })
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	if err := l.stateLog.recall(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	off, ordered := map[Name]bool{}, map[Name]bool{} // Ports sees to them
	err = l.Ports.Wiring(ctx, func(w power.Wiring) {
		for _, d := range virtual {
			if ordered[d.Name] = w.Ordered(d.MAC); ordered[d.Name] {
				_, off[d.Name] = w.Off(d.MAC)
			}
		}
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	virtual = slices.DeleteFunc(virtual, func(d *Device) bool { return off[d.Name] })
	runs := l.resumeAll(ctx, virtual)
	var machines, others []*Device
	for _, d := range virtual {
		switch {
		case runs[d.Name] || ordered[d.Name]:
		case d.Host == QEMU:
			machines = append(machines, d)
		default:
			others = append(others, d)
		}
	}
	l.queue(machines)
	if err := l.connectSerials(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if err := l.recallAddresses(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	l.seen.Do(func() { close(l.found) })
	for _, d := range others {
		l.start(*d, 0, cause{})
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{l.view.Run, l.watchdog, l.probe, l.watchLost, l.stateLog.run, l.warnOfEnds, l.attend, l.readmit} { // of what this server sees
		g.Go(func() error { return loop(ctx) })
	}
	g.Go(func() error { return l.startMachines(ctx, machines, startTurns()) })
	g.Go(func() error { return l.Duties.Hold(ctx, "holds", l.endHolds) })
	err = g.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), workLimit)
	defer cancel()
	return errors.Join(err, l.stateLog.endHosts(ending))
}
