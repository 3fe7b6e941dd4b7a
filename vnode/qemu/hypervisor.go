package qemu

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"

	"walt/console"
	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/nodes"
)

// Lab is what the machines are nodes of.
type Lab interface {
	Named(context.Context, []nodes.Name) ([]nodes.DeviceStatus, error)
	AllDevices(context.Context) (nodes.List, error)
	Failed(nodes.Name, error)
	Limits() nodes.Limits
	Down(n nodes.Name, again bool, why string)
	Crashed(n nodes.Name, why string) (again bool)
	// ToStart reports whether a node was told to start, and did not begin to: its machine is to be
	// one that runs, however it ended.
	ToStart(nodes.Name) bool
}

// Boots is what machines boot.
type Boots interface {
	Prepare(context.Context, netboot.Machine) (netboot.Boot, error)
	Resume(context.Context, netboot.Machine) (bool, error)
	Over(netip.Addr)
	Forget(context.Context, ethernet.MAC) error
}

// Config is what a Hypervisor is made of.
type Config struct {
	Dir     string // for the files of machines; they can start when its path is short
	Program string // of QEMU, "" for where it usually is
	Lab     Lab
	Boots   Boots
	Network Network
	Lines   *console.Lines // of all nodes
	Log     *slog.Logger
}

// Hypervisor runs the virtual nodes that are machines.
type Hypervisor struct {
	Config
	emulator finder

	mu     sync.Mutex
	nodes  map[nodes.Name]*life
	closed bool
	lives  sync.WaitGroup

	noRoom atomic.Bool // on the disk for a machine; one that started since has some
}

// longestDir is how long the path of Dir may be: with what is below it, it must not
// be longer than what the address of a socket holds.
const longestDir = 107 - len("/525400000000/qmp.sock")

// New returns a Hypervisor; Close ends it.
func New(c Config) (_ *Hypervisor, err error) {
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	return &Hypervisor{Config: c, emulator: finder{program: c.Program}, nodes: map[nodes.Name]*life{}}, nil
}

// Able returns why no machine can run here, in words for users; nil when one can.
// It may take a second or two to find out, which it does when it is first asked.
func (h *Hypervisor) Able() error {
	if err := h.reachable(); err != nil {
		return err
	}
	if _, err := h.emulator.find(); err != nil {
		return err
	}
	return h.Network.Able()
}

// Start powers the node on. If it is on, its power is cut first, and Start returns
// after the lab was told so. It does not wait for the boot. After Close it fails.
func (h *Hypervisor) Start(n nodes.Name) error {
	ctx, l, before, err := h.begin(n)
	if err != nil {
		return err
	}
	if before != nil {
		before.again.Store(true)
		before.end()
		<-before.off
	}
	go func() { // ends with ctx: Start, Stop and Close end it
		defer h.lives.Done()
		defer close(l.off)
		h.live(ctx, l, n, false)
	}()
	return nil
}

// Stop cuts the power of the node. It returns when it is off and the lab was told.
func (h *Hypervisor) Stop(n nodes.Name) {
	h.mu.Lock()
	l := h.nodes[n]
	h.mu.Unlock()
	if l == nil {
		h.stopLeftover(n)
		return
	}
	l.end()
	<-l.off
	h.mu.Lock()
	if h.nodes[n] == l { // a Start meanwhile had to wait for it, too
		delete(h.nodes, n)
	}
	h.mu.Unlock()
	h.Sweep(context.Background())
}

// Close lets go of all machines, which go on.
func (h *Hypervisor) Close() {
	h.mu.Lock()
	h.closed = true
	for _, l := range h.nodes {
		l.leave.Store(true)
		l.end()
	}
	h.mu.Unlock()
	h.lives.Wait()
}

// Console returns the last that a node wrote on its serial line.
func (h *Hypervisor) Console(n nodes.Name) []byte {
	h.mu.Lock()
	l := h.nodes[n]
	h.mu.Unlock()
	if l == nil {
		return nil
	}
	line := l.line.Load()
	if line == nil {
		return nil
	}
	return line.end()
}

// reachable checks that the sockets of machines can have their addresses.
func (h *Hypervisor) reachable() error {
	over := len(h.Dir) - longestDir
	if over <= 0 {
		return nil
	}
	return fault.Failedf("the path %s is too long for the sockets of machines", h.Dir).
		WithHint("the server needs a data directory whose path is %d bytes shorter", over)
}

// describe says who a node is, whose machine may run already, and what it consists of.
func (h *Hypervisor) describe(ctx context.Context, n nodes.Name, runs bool) (netboot.Machine, Spec, error) {
	found, err := h.Lab.Named(ctx, []nodes.Name{n})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no node %s", n)
	}
	if err != nil {
		return netboot.Machine{}, Spec{}, err
	}
	d := found[0]
	who, err := h.Network.Place(ctx, d.MAC, runs)
	if err != nil {
		return netboot.Machine{}, Spec{}, err
	}
	s := Spec{MAC: d.MAC, Memory: d.Settings().Memory(), CPUs: d.Settings().CPUs()}
	who.Name, who.MAC, who.Model, who.Virtual, who.Memory, who.Settings = n, d.MAC, d.Model, true, s.Memory, d.Settings()
	return who, s, nil
}

// place is the directory of a machine.
func (h *Hypervisor) place(mac ethernet.MAC) string { return filepath.Join(h.Dir, folder(mac)) }
