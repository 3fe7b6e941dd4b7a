package power

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/journal"
	"walt/power/driver"
	"walt/power/snmp"
	"walt/state"
)

// Devices is the lab as Ports asks it.
type Devices interface {
	// Behind returns what is known of the device with a MAC address; ok is false
	// when there is none, or none any more.
	Behind(r state.Reader, mac ethernet.MAC) (d Device, ok bool, err error)
	// Runs reports whether a node says that it does.
	Runs(mac ethernet.MAC) bool
	// PoweredOff is called after the port of a device was switched off.
	PoweredOff(mac ethernet.MAC)
	// Admit is a fault when there is no room for a virtual node that is to be switched on.
	Admit(r state.Reader, mac ethernet.MAC) error
	// Switch gives a virtual node power, or takes it; it is left alone when it is so.
	Switch(ctx context.Context, mac ethernet.MAC, on bool) error
	// Presence tells what is seen of a node.
	Presence(ctx context.Context, mac ethernet.MAC) (Presence, error)
	// Deaf reports whether a node says that no packet wakes its network card.
	Deaf(mac ethernet.MAC) bool
	// ShutDown asks a node to shut down by itself, and returns when it is silent; Restart asks
	// it to start anew, and returns when that has begun. A fault says why it did not.
	ShutDown(ctx context.Context, mac ethernet.MAC) error
	Restart(ctx context.Context, mac ethernet.MAC) error
}

// Device is what Ports needs to know of a device.
type Device struct {
	Name    string // as people call it
	Node    bool   // its port may be switched
	Virtual bool   // it is connected to no port
	Owner   string // who has it, "" for nobody
	Up      bool   // it reported that it runs
	// Idle says that nobody needs the device now: it may lose its power when it
	// was not used for long enough, and not before that long after Since.
	Idle  bool
	Since time.Time // when the owner last changed
}

// Config is what Ports works with.
type Config struct {
	Store   state.Store
	Journal *journal.Journal
	Devices Devices // may be set after New, before anything else is called
	// Duties says which of the background work this server does; nil: all of it.
	Duties state.Duties
	// Drivers switch what feeds nodes that are powered by no port; nil: there are none.
	Drivers *driver.Drivers
	// Waker wakes nodes that sleep; nil: none can be woken.
	Waker Waker
	// Dial speaks to a switch; nil: over SNMP.
	Dial func(snmp.Switch) (Agent, error)
	Log  *slog.Logger
	Now  func() time.Time
}

// Ports is the switch ports of one lab.
type Ports struct {
	Config
	wiring   *wiring
	sessions *sessions
	contacts *contacts
	troubles troubles
	run      string       // tells this run of the server from others, whatever the clock says
	unnoted  sync.Map     // when cycles were ordered of which the store did not take what came, by Port
	cut      sync.Map     // when the last order was given for which what outlets feed was cut, by Port
	idle     atomic.Int64 // a time.Duration
	// Each holds one token: idle was changed, a node may have moved, there are other drivers.
	idleSet, moved, driversSet chan struct{}
	waking                     chan struct{} // holds a token while a node is woken
}

// New returns the ports; Run makes them live. No power is saved before SetIdle.
func New(c Config) *Ports {
	if c.Duties == nil {
		c.Duties = state.Alone{}
	}
	if c.Dial == nil {
		c.Dial = func(sw snmp.Switch) (Agent, error) { return snmp.Open(sw) }
	}
	if c.Drivers == nil {
		c.Drivers = driver.New()
	}
	p := &Ports{Config: c, wiring: newWiring(c.Store), contacts: newContacts(c.Now), run: rand.Text(), idleSet: make(chan struct{}, 1), moved: make(chan struct{}, 1), driversSet: make(chan struct{}, 1), waking: make(chan struct{}, 1)}
	p.sessions = newSessions(func(sw snmp.Switch) (Agent, error) { return p.Dial(sw) })
	return p
}

// Run carries out the orders that nobody waits for, orders that the ports of
// idle nodes are switched off, and looks for devices that moved. It returns when
// ctx ends.
func (p *Ports) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.wiring.cables.Run(ctx) })
	g.Go(func() error { return p.wiring.orders.Run(ctx) })
	g.Go(func() error { return p.wiring.supplies.Run(ctx) })
	for name, duty := range map[string]func(context.Context) error{
		"ports": p.reconcile, "saver": p.save, "discovery": p.rediscover,
	} {
		g.Go(func() error { return p.Duties.Hold(ctx, name, duty) })
	}
	return g.Wait()
}

// wake leaves a token unless there is one.
func wake(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
