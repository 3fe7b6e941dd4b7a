package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/auth"
	"walt/commands"
	"walt/config"
	"walt/consent"
	"walt/console"
	"walt/fault"
	"walt/history"
	"walt/hostkeys"
	"walt/images"
	"walt/journal"
	"walt/netboot"
	"walt/netboot/boards"
	"walt/nodelogs"
	"walt/nodelogs/intake"
	"walt/nodes"
	"walt/power"
	"walt/power/driver"
	"walt/reach"
	"walt/reach/files"
	"walt/sshd"
	"walt/state/badger"
	"walt/upgrade"
	"walt/vnode/qemu"
	"walt/vnode/sim"
)

// drain is how long running commands get when the server shuts down.
const drain = 10 * time.Second

// findLimit is how long logins wait until the machines are found that run.
const findLimit = 5 * time.Second

// server is all parts of a running waltd.
type server struct {
	data     string // directory of all that there is
	log      *slog.Logger
	store    *badger.Store
	journal  *journal.Journal
	users    *auth.Users
	library  *images.Library
	catalog  *images.Catalog
	ports    *power.Ports
	drivers  *driver.Drivers
	guard    *guard
	lab      *nodes.Lab
	consoles *console.Lines
	sim      *sim.Hypervisor
	network  *network
	netboot  *netboot.Server
	boards   *boards.Server
	qemu     *qemu.Hypervisor
	doors    *reach.Doors
	nodeLogs *nodelogs.Store
	intake   *intake.Server
	ssh      *sshd.Server
	files    files.Lab
	virtual  config.Virtual         // as it is in force
	segment  config.Network         // the same, from the start on
	unread   atomic.Pointer[string] // what is wrong with the configuration that was last read

	telling  sync.Mutex // of telling systemd how it is, so that the last word is how it is now
	ready    bool       // logins are accepted; telling guards it
	hostKeys []ssh.Signer
	hostCA   ssh.PublicKey // that signs the host keys of nodes
	listener net.Listener
	// reload reads the configuration again, when there is something in hangup, as at SIGHUP; nil
	// when it cannot change.
	reload func() (config.Config, error)
	hangup <-chan os.Signal
}

// open makes the parts from the data directory and listens. Nothing runs yet.
func open(ctx context.Context, c config.Config, log *slog.Logger) (_ *server, err error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fault.Failedf("cannot make the data directory: %v", err).WithHint("choose another with --data DIR")
	}
	s := &server{data: c.Data, log: log, virtual: c.Virtual, segment: c.Network}
	if s.store, err = badger.Open(stateDir(c.Data), log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.store.Close()
			if s.listener != nil {
				s.listener.Close()
			}
		}
	}()
	if err := upgrade.Run(ctx, s.store, log); err != nil {
		return nil, err
	}
	keys := filepath.Join(c.Data, "keys")
	hostCA, replaces, err := hostkeys.ForHosts(keys) // before others make keys there
	if err != nil {
		return nil, err
	}
	s.hostCA = hostCA.PublicKey()
	if replaces {
		log.Warn("the key that signs the host keys of nodes is another one than before: users print theirs again, as they did with: advanced known-hosts")
	}
	if s.hostKeys, err = hostkeys.Load(keys, c.SSH.RSAHostKey); err != nil {
		return nil, err
	}
	nodeKey, err := hostkeys.ForNodes(keys)
	if err != nil {
		return nil, err
	}
	if s.listener, err = listen(ctx, c.Listen); err != nil {
		return nil, err
	}
	s.journal = journal.New(s.store, time.Now)
	s.users = auth.New(s.store, s.journal, time.Now)
	if s.library, err = images.Open(filepath.Join(c.Data, "images"), s.store, s.journal, images.KnownPlatforms(), time.Now); err != nil {
		return nil, err
	}
	s.catalog = images.NewCatalog(images.Config{
		Store: s.store, Journal: s.journal, Content: s.library, Log: log, Now: time.Now,
	})
	s.drivers = driver.New()
	s.ports = power.New(power.Config{Store: s.store, Journal: s.journal, Drivers: s.drivers, Waker: waker{c.Network}, Log: log, Now: time.Now})
	s.guard = newGuard(s.ports, log)
	s.consoles = console.New(console.Config{Dir: filepath.Join(c.Data, "consoles"), Own: listenPort(s.listener.Addr()), Log: log, Now: time.Now})
	s.lab = nodes.New(nodes.Config{
		Store: s.store, Journal: s.journal, Users: s.users, Images: s.catalog, Ports: s.ports, Key: nodeKey,
		IP: listenIP(s.listener.Addr()), Platforms: s.library.Runs, Creates: s.creates(c.Virtual.Kind), Dial: s.dial, Own: s.owns, Lines: s.consoles, Log: log, Now: time.Now,
	})
	s.consoles.Term = s.lab.Term
	s.catalog.Nodes, s.ports.Devices, s.library.Present = s.lab, s.lab, s.lab.Models
	s.nodeLogs = nodelogs.Open(filepath.Join(c.Data, "nodelogs"), log, time.Now)
	s.intake = intake.New(speakers{s}, s.nodeLogs, log)
	s.sim = sim.New(s.lab, s.library, nodeKey.PublicKey(), log)
	s.sim.Says = s.says
	if err := s.openMachines(c, nodeKey.PublicKey(), hostCA); err != nil {
		return nil, err
	}
	s.lab.Machines, s.lab.Boards = s.netboot, c.Network.Interface != ""
	s.lab.Agents = s.netboot
	s.lab.OnTroubles = s.tellTroubles
	s.lab.Hosts = map[nodes.HostKind]nodes.Host{nodes.Simulated: s.sim, nodes.QEMU: s.qemu}
	typed := history.New(s.store)
	var shown []ssh.PublicKey
	for _, key := range s.hostKeys {
		shown = append(shown, key.PublicKey())
	}
	app := commands.New(commands.Services{
		Lab: s.lab, Images: s.catalog, Library: s.library, Users: s.users, Journal: s.journal, NodeLogs: s.nodeLogs, History: typed,
		Online: s.online, Cut: s.cut, Copy: s.copyFiles, Backup: s.backup, HostKeys: shown, HostCA: s.hostCA, Version: version, Log: log, Now: time.Now,
	})
	s.doors = reach.New(reach.Config{
		Enter: s.enter, Exposures: s.lab.Exposures, Host: listenIP(s.listener.Addr()), Own: listenPort(s.listener.Addr()), Online: s.online, Store: s.store, Journal: s.journal, Log: log, Now: time.Now,
	})
	s.lab.Doors = s.doors
	s.files = files.Lab{Nodes: nodeFiles{s.lab, s.doors}, Images: imageFiles{s.catalog, s.library}}
	s.ssh, err = sshd.New(sshd.Config{
		HostKeys: s.hostKeys, Users: s.users, Runner: app, History: typed, Nodes: s.doors, Log: log,
		Files: sftp{s.files},
	})
	if err != nil {
		return nil, err
	}
	return s, s.apply(c)
}

// listenIP is the address that the server listens on, "" when that is all of them.
func listenIP(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return tcp.IP.String()
	}
	return ""
}

// listenPort is the port that the server listens on.
func listenPort(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

func (s *server) online(user auth.Name) bool { return s.ssh.Online(user) }

// enter begins a stay of a user at a node, of which nobody is asked.
func (s *server) enter(ctx context.Context, user auth.Name, n nodes.Name, wait time.Duration) (reach.Way, error) {
	return s.lab.Reach(ctx, user, n, consent.Agreement{}, wait)
}

func (s *server) cut(user auth.Name, key string) { s.ssh.Cut(user, key) }

func (s *server) fingerprint() string { return ssh.FingerprintSHA256(s.hostKeys[0].PublicKey()) }

// run serves until ctx ends, then drains. It calls ready when logins are
// accepted, and closes everything before it returns.
func (s *server) run(ctx context.Context, ready func()) error {
	// The background loops go on while running commands get their time to end.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, failing := errgroup.WithContext(background) // the server ends when one of them fails
	g.Go(func() error { return s.users.Run(failing) })
	g.Go(func() error { return s.lab.Run(failing) })
	g.Go(func() error { return s.ports.Run(failing) })
	g.Go(func() error { return s.library.Run(failing) })
	g.Go(func() error { return s.catalog.Run(failing) })
	g.Go(func() error { return s.journal.Run(failing, s.log) })
	g.Go(func() error { return s.nodeLogs.Run(failing) })
	g.Go(func() error { return s.guard.run(failing) })
	g.Go(func() error { return s.network.run(failing) })
	g.Go(func() error { return s.serveBoards(failing) })
	g.Go(func() error { return s.doors.Run(failing) })
	g.Go(func() error {
		s.qemu.Sweep(failing)
		return nil
	})
	g.Go(func() error { return s.reloadAtHangup(failing) })
	g.Go(func() error { return giveBack(failing, debug.FreeOSMemory) })
	if s.qemu.Left() {
		select { // before anybody is told that they are off
		case <-s.lab.Found():
		case <-time.After(findLimit):
		case <-failing.Done():
		case <-ctx.Done():
		}
	}
	failed := make(chan error, 1)
	go func() { failed <- s.ssh.Serve(s.listener) }() // ends with Shutdown
	ready()
	s.tellReady(nil)

	var err error
	select {
	case <-ctx.Done():
		notify("STOPPING=1")
		s.log.Info("stopping: running commands get 10 s")
	case <-failing.Done(): // with the error that Wait returns
		s.log.Error("stopping: a part of the server failed", "err", context.Cause(failing))
	case err = <-failed:
	}
	draining, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if late := s.ssh.Shutdown(draining); late != nil {
		s.log.Warn("commands were cut off", "err", late)
	}
	stop()
	err = errors.Join(err, g.Wait())
	s.doors.Close()
	return errors.Join(err, s.close())
}

// close ends what open made.
func (s *server) close() error {
	if err := s.drivers.Set(nil, nil); err != nil {
		s.log.Error("close power drivers", "err", err)
	}
	s.sim.Close()
	s.qemu.Close()
	s.consoles.Close()
	s.network.close()
	s.listener.Close()
	return s.store.Close()
}

// warnUnadministered says so when nobody can log in who manages users.
func (s *server) warnUnadministered(ctx context.Context) {
	ok, err := s.users.Administered(ctx)
	if err != nil {
		s.log.Error("look for administrators", "err", err)
	} else if !ok {
		s.log.Warn("nobody can log in as an administrator: start the server with --admin NAME=PUBKEYFILE")
	}
}

// warnUnswitchable says so when nodes are fed by outlets of no driver.
func (s *server) warnUnswitchable(ctx context.Context) {
	ns, why, err := s.ports.Unswitchable(ctx)
	if err != nil {
		s.log.Error("look for drivers of nodes", "err", err)
	} else if len(ns) > 0 {
		s.log.Warn("the power of nodes is unknown, and not switched", "nodes", fault.Few(ns), "why", fault.Joined(why, "; "))
	}
}
