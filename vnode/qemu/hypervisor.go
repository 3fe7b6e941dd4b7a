package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/nodes"
	"walt/vnode/lan"
)

// Lab is what the machines are nodes of.
type Lab interface {
	Named(context.Context, []nodes.Name) ([]nodes.DeviceStatus, error)
	AllDevices(context.Context) (nodes.List, error)
	Failed(nodes.Name, error)
	Limits() nodes.Limits
	Down(n nodes.Name, again bool, why string)
	Crashed(n nodes.Name, why string) (again bool)
}

// Boots is what machines boot.
type Boots interface {
	Lease(context.Context, ethernet.MAC, netip.Prefix) (netip.Addr, error)
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
	Subnet  netip.Prefix // of the network that they are on
	// LAN returns that network, when it is there.
	LAN func(context.Context) (*lan.LAN, error)
	Log *slog.Logger
}

// Hypervisor runs the virtual nodes that are machines.
type Hypervisor struct {
	Config
	emulator finder

	mu     sync.Mutex
	nodes  map[nodes.Name]*life
	closed bool
	lives  sync.WaitGroup
}

// life is the time for which one node is on, over reboots that it does by itself.
type life struct {
	again atomic.Bool            // the next one follows at once
	leave atomic.Bool            // the machine goes on without us
	end   context.CancelFunc     // cuts the power, unless leave
	off   chan struct{}          // closed when it is over
	line  atomic.Pointer[serial] // nil until the machine runs

	takes int // MiB of memory while the machine runs; guarded by the hypervisor's mu
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
	_, err := h.emulator.find()
	return err
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
		h.live(ctx, l, n, nil)
	}()
	return nil
}

// Resume goes on with the machine of a node that runs since before the server
// started. It reports whether there is one.
func (h *Hypervisor) Resume(ctx context.Context, n nodes.Name) bool {
	found, err := h.resume(ctx, n)
	if err != nil {
		h.Log.Warn("a machine that may run is started anew", "node", n, "err", err)
	}
	return found
}

func (h *Hypervisor) resume(ctx context.Context, n nodes.Name) (bool, error) {
	who, spec, err := h.describe(ctx, n)
	if err != nil {
		return false, err
	}
	m, err := adopt(ctx, h.place(spec.MAC), spec.MAC)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	known, err := h.Boots.Resume(ctx, who)
	if err != nil || !known {
		m.Kill()
		return false, err
	}
	living, l, before, err := h.begin(n)
	if err != nil || before != nil {
		m.Leave()
		return before != nil, err
	}
	go func() { // ends with living: Start, Stop and Close end it
		defer h.lives.Done()
		defer close(l.off)
		h.live(living, l, n, m)
	}()
	return true, nil
}

// begin begins a life, which waits for the one before it.
func (h *Hypervisor) begin(n nodes.Name) (context.Context, *life, *life, error) {
	ctx, end := context.WithCancel(context.Background())
	l := &life{end: end, off: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		end()
		return nil, nil, nil, fault.Failedf("the server is stopping")
	}
	before := h.nodes[n]
	h.nodes[n] = l
	h.lives.Add(1)
	return ctx, l, before, nil
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

// stopLeftover cuts the power of the machine of a node that an earlier server left.
func (h *Hypervisor) stopLeftover(n nodes.Name) {
	found, err := h.Lab.Named(context.Background(), []nodes.Name{n})
	if err != nil {
		h.Log.Error("look for the machine of a node", "node", n, "err", err)
	}
	for _, d := range found {
		end(h.place(d.MAC))
	}
}

// Sweep takes away what is left of nodes that are gone, their machines too if an end
// of the server let them go on.
func (h *Hypervisor) Sweep(ctx context.Context) {
	if err := h.sweep(ctx); err != nil && ctx.Err() == nil {
		h.Log.Error("look for machines of nodes that are gone", "err", err)
	}
}

func (h *Hypervisor) sweep(ctx context.Context) error {
	dirs, err := os.ReadDir(h.Dir) // before: a node that comes meanwhile is known
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := h.Lab.AllDevices(ctx)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for d := range all.Found() {
		here[folder(d.MAC)] = d.Host == nodes.QEMU
	}
	for _, d := range dirs {
		if here[d.Name()] {
			continue
		}
		mac, err := ethernet.ParseMAC(d.Name())
		if err != nil {
			continue // it is nothing of ours
		}
		dir := filepath.Join(h.Dir, d.Name())
		if err := errors.Join(clear(dir), os.RemoveAll(dir), h.Boots.Forget(ctx, mac)); err != nil {
			return err
		}
	}
	return nil
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

// live runs a node, with a new machine after each reboot that it does by itself,
// until its power is cut or it switches itself off. m runs already, unless it is nil.
func (h *Hypervisor) live(ctx context.Context, l *life, n nodes.Name, m *Machine) {
	for {
		end, err := h.run(ctx, l, n, m)
		m = nil
		switch {
		case l.leave.Load():
			return
		case ctx.Err() != nil:
			h.Lab.Down(n, l.again.Load(), "the server cut its power")
			return
		case err != nil:
			h.Lab.Failed(n, err)
			return
		case end.crashed:
			if !h.Lab.Crashed(n, end.why) {
				return
			}
		default:
			h.Lab.Down(n, end.again, end.why)
		}
		if !end.again {
			return
		}
	}
}

// run is a machine from power on to power off. It returns why that was.
func (h *Hypervisor) run(ctx context.Context, l *life, n nodes.Name, m *Machine) (end ending, err error) {
	l.line.Store(nil) // what it says from here on is of another boot
	defer func() {    // whatever is wrong, no machine runs that nobody looks after
		switch {
		case m == nil || err == nil:
		case l.leave.Load():
			m.Leave()
		default:
			m.Kill()
		}
	}()
	who, spec, err := h.describe(ctx, n)
	if err != nil {
		return end, err
	}
	if err := h.enter(l, n, spec, m != nil); err != nil {
		return end, err
	}
	defer h.exit(l)
	defer func() {
		if !l.leave.Load() {
			h.Boots.Over(who.IP)
		}
	}()
	dir := h.place(spec.MAC)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return end, err
	}
	if err := h.reachable(); err != nil {
		return end, err
	}
	network, err := h.LAN(ctx)
	if err != nil {
		return end, err
	}
	port, err := network.Connect(lan.Cable{
		Name: string(n), MAC: spec.MAC, IP: who.IP,
		Ours: filepath.Join(dir, SwitchSocket), Peer: filepath.Join(dir, wireSocket),
	})
	if err != nil {
		return end, err
	}
	defer port.Close()
	if m == nil {
		if m, err = h.boot(ctx, who, spec, dir); err != nil {
			return end, err
		}
	}
	line, err := listen(dir, h.Log.With("node", n))
	if err != nil {
		return end, fmt.Errorf("listen to the serial line: %w", err)
	}
	l.line.Store(line)
	defer line.close()
	select {
	case <-m.Gone():
		<-m.monitor.gone // as it ended, all that it said and wrote is there
		<-line.done
		return endingOf(m.monitor.ended(), m.complaint(), line.end()), nil
	case <-ctx.Done():
		return end, ctx.Err()
	}
}

// boot starts the machine of a node with what it is to boot now.
func (h *Hypervisor) boot(ctx context.Context, who netboot.Machine, spec Spec, dir string) (*Machine, error) {
	e, err := h.emulator.find()
	if err != nil {
		return nil, fault.Failedf("this server cannot run machines: %v", err)
	}
	who.Params = "console=ttyS0 quiet panic=1"
	if !e.KVM { // they cost much where they protect nothing
		who.Params += " mitigations=off nokaslr"
	}
	b, err := h.Boots.Prepare(ctx, who)
	if err != nil {
		return nil, err
	}
	spec.Kernel, spec.Initrd, spec.CommandLine = b.Kernel, b.Initrd, b.CommandLine
	if err := setAside(dir); err != nil {
		return nil, err
	}
	return e.start(ctx, dir, spec)
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

// describe says who a node is, and what it consists of.
func (h *Hypervisor) describe(ctx context.Context, n nodes.Name) (netboot.Machine, Spec, error) {
	found, err := h.Lab.Named(ctx, []nodes.Name{n})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no node %s", n)
	}
	if err != nil {
		return netboot.Machine{}, Spec{}, err
	}
	d := found[0]
	ip, err := h.Boots.Lease(ctx, d.MAC, h.Subnet)
	if err != nil {
		return netboot.Machine{}, Spec{}, err
	}
	s := Spec{MAC: d.MAC, Memory: d.Settings.Memory(), CPUs: d.Settings.CPUs()}
	who := netboot.Machine{Name: n, MAC: d.MAC, IP: ip, Server: lan.ServerOf(h.Subnet), Net: h.Subnet, Memory: s.Memory, Settings: d.Settings}
	return who, s, nil
}

// place is the directory of a machine.
func (h *Hypervisor) place(mac ethernet.MAC) string { return filepath.Join(h.Dir, folder(mac)) }
