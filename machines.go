package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/config"
	"walt/fault"
	"walt/images"
	"walt/netboot"
	"walt/netboot/boards"
	"walt/netboot/initrd"
	"walt/nodes"
	"walt/state/badger"
	"walt/vnode/bridge"
	"walt/vnode/lan"
	"walt/vnode/qemu"
)

// openMachines makes what boards and machines need: what they boot, and what runs the latter. No
// machine runs by that, and their network is not there before one does.
func (s *server) openMachines(c config.Config, trust ssh.PublicKey, hostCA ssh.Signer) (err error) {
	s.netboot = netboot.New(netboot.Config{
		Store: s.store, Lab: s.lab, Library: s.library, Dir: filepath.Join(c.Data, "boot"),
		Agent: initrd.Agent, Trust: trust, HostCA: hostCA, Log: s.log, Now: time.Now,
	})
	s.boards = boards.New(boards.Config{Boots: s.netboot, Lab: s.lab, Store: s.store, Library: s.library, Log: s.log, Now: time.Now})
	s.network = newNetwork(lan.Config{Subnet: c.Virtual.Net, Lookup: s.netboot.Find, Guarded: s.guard.has, Log: s.log}, func(ctx context.Context, l *lan.LAN) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.netboot.Serve(ctx, l) })
		g.Go(func() error { return l.ServeNames(ctx) })
		g.Go(func() error { return s.serveLines(ctx, l) })
		return g.Wait()
	})
	s.guard.changed = s.network.hangUpGuarded
	s.qemu, err = qemu.New(qemu.Config{
		Dir: machinesDir(c.Data), Program: c.Virtual.QEMU, Lab: s.lab, Boots: s.netboot, Network: s.networkOf(c), Lines: s.consoles, Log: s.log,
	})
	return err
}

// networkOf is the network that machines are on.
func (s *server) networkOf(c config.Config) qemu.Network {
	if c.Virtual.Network == config.InLab {
		return qemu.Bridged{Bridge: bridge.Name(c.Network.Interface), Segment: s.boards}
	}
	return qemu.Private{Subnet: c.Virtual.Net, Leases: s.netboot, LAN: s.network.get}
}

// machinesDir is where a data directory holds the files of machines.
func machinesDir(data string) string { return filepath.Join(data, "machines") }

// stopMachinesCommand is "waltd stop-machines": the end of all machines that a server
// which does not run any more has left.
func stopMachinesCommand(args []string) error {
	c, _, err := configured("stop-machines", args)
	if err != nil {
		return err
	}
	unlock, running, err := badger.Lock(stateDir(c.Data))
	switch {
	case running:
		return fault.Failedf("a server runs on the data in %s, and would start its machines again; nothing changed", c.Data).
			WithHint("stop it first; or switch machines off as a user does, with \"node off\"")
	case unlock != nil: // no server starts meanwhile
		defer unlock()
	case err != nil:
		fmt.Fprintf(os.Stderr, "waltd: a server that starts meanwhile is not kept from that: %v\n", err)
	}
	n, err := qemu.EndAll(machinesDir(c.Data))
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Data); err != nil && n == 0 { // machines may run on that had their files there
		return fault.Failedf("there are no data: %v", err).WithHint("name the data directory with --data DIR")
	}
	switch n {
	case 0:
		fmt.Fprintf(os.Stderr, "waltd: no machine of %s runs\n", c.Data)
	case 1:
		fmt.Fprintln(os.Stderr, "waltd: ended 1 machine")
	default:
		fmt.Fprintf(os.Stderr, "waltd: ended %d machines\n", n)
	}
	return nil
}

// limitsOf are those of machines. Unless the configuration says otherwise, they may take
// three quarters of the host's memory.
func limitsOf(v config.Virtual) nodes.Limits {
	x := nodes.Limits{Memory: v.RAM, CPUs: cmp.Or(v.CPUs, runtime.NumCPU()), Machines: v.Max}
	if x.Memory == 0 {
		x.Memory = hostMemory() * 3 / 4
	}
	return x
}

// noteVirtual notes that another [virtual] was read and applied, and names for the log what
// of it has changed, and what does so only at the next start.
func (s *server) noteVirtual(v config.Virtual) (told []any) {
	was := s.virtual
	s.virtual = v
	s.virtual.Kind, s.virtual.QEMU, s.virtual.Network, s.virtual.Subnet, s.virtual.Net = was.Kind, was.QEMU, was.Network, was.Subnet, was.Net
	for _, part := range []struct {
		what string
		keys map[string]bool
	}{
		{"changed", map[string]bool{
			"boot": v.Boot != was.Boot, "cpus": v.CPUs != was.CPUs, "max": v.Max != was.Max, "memory": v.RAM != was.RAM, "nat": v.NAT != was.NAT,
		}},
		{"needs_restart", map[string]bool{"kind": v.Kind != was.Kind, "network": v.Network != was.Network, "qemu": v.QEMU != was.QEMU, "subnet": v.Subnet != was.Subnet}},
	} {
		maps.DeleteFunc(part.keys, func(_ string, differs bool) bool { return !differs })
		if len(part.keys) > 0 {
			told = append(told, part.what, "[virtual] "+strings.Join(slices.Sorted(maps.Keys(part.keys)), ", "))
		}
	}
	return told
}

// hostMemory is how much there is, in MiB; 0 when that is not known.
func hostMemory() int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kib int
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return kib >> 10
}

// machineModel is the one that machines can be.
const machineModel images.Model = "pc-x86-64"

// creates returns what says what new virtual nodes are: the kind is that of the
// configuration. Whether machines run here is found out when the first is wanted.
func (s *server) creates(kind string) nodes.Creates {
	var told sync.Map // reasons
	return func(model images.Model) (nodes.HostKind, string, error) {
		if kind == "simulated" {
			return nodes.Simulated, "", nil
		}
		if model != machineModel {
			return nodes.Simulated, fmt.Sprintf("It is simulated: machines are of the model %s.", machineModel), nil
		}
		unable := s.qemu.Able()
		switch {
		case unable == nil:
			return nodes.QEMU, "", nil
		case kind == "qemu":
			mend := "install QEMU 7.2 or later on the server"
			if f := fault.As(unable); f != nil && f.Hint != "" {
				mend = f.Hint
			}
			return "", "", fault.Failedf("this server cannot run machines: %v; nothing changed", unable).
				WithHint("%s\na node that is no machine: node create NAME --simulated", mend)
		}
		if _, before := told.LoadOrStore(unable.Error(), true); before {
			return nodes.Simulated, "", nil
		}
		s.log.Warn("virtual nodes are simulated: this server cannot run machines", "err", unable)
		return nodes.Simulated, fmt.Sprintf("Virtual nodes are simulated: this server cannot run machines: %v.", unable), nil
	}
}

// dial connects to a node, wherever it is.
func (s *server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil || !s.network.Subnet.Contains(to.Addr()) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	l, err := s.network.get(ctx)
	if err != nil {
		return nil, err
	}
	return l.DialContext(ctx, to)
}

// owns reports whether an address is the server's own on the network that machines are on.
func (s *server) owns(ip netip.Addr) bool { return ip == lan.ServerOf(s.network.Subnet) }

// network is the one that machines are on. It takes some 10 MiB, which a lab without
// machines has better use for: it is made when it is first asked for.
type network struct {
	lan.Config
	serve  func(context.Context, *lan.LAN) error // what machines ask for on it
	ask    func()
	wanted chan struct{} // closed by ask
	made   chan struct{} // closed when lan or err is there

	mu  sync.Mutex
	nat bool
	lan *lan.LAN
	err error
}

func newNetwork(c lan.Config, serve func(context.Context, *lan.LAN) error) *network {
	n := &network{Config: c, serve: serve, wanted: make(chan struct{}), made: make(chan struct{})}
	n.ask = sync.OnceFunc(func() { close(n.wanted) })
	return n
}

// get returns the network. It waits while there is none, until run has made it.
func (n *network) get(ctx context.Context) (*lan.LAN, error) {
	n.ask()
	select {
	case <-n.made:
		return n.lan, n.err // which stay
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run makes the network when somebody asks for it, and serves it, until ctx ends.
func (n *network) run(ctx context.Context) error {
	select {
	case <-n.wanted:
	case <-ctx.Done():
		return nil
	}
	n.mu.Lock()
	if n.lan, n.err = lan.New(n.Config); n.err == nil {
		n.err = n.lan.SetNAT(n.nat)
	}
	n.mu.Unlock()
	close(n.made)
	if n.err != nil {
		return nil // who asked is told
	}
	return n.serve(ctx, n.lan)
}

// setNAT lets machines reach the world, or not.
func (n *network) setNAT(on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nat = on; n.lan == nil {
		return nil
	}
	return n.lan.SetNAT(on)
}

// hangUpGuarded ends what machines have open to what is guarded by now.
func (n *network) hangUpGuarded() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lan != nil {
		n.lan.HangUpGuarded()
	}
}

// close ends the network, if there is one. run has returned.
func (n *network) close() {
	if n.lan != nil {
		n.lan.Close()
	}
}
