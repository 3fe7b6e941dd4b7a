// Package netboot gives machines what they boot, and hears from them how that goes:
// kernel and initramfs of an image (initrd), instructions for one boot, the root file
// system (nfs), and the connection of the agent that runs on them. It starts no
// machine and decides nothing: what a node boots is asked of the lab. Its one
// surprising rule: a boot is one digest, from kernel to root. What the image's name
// means later concerns the next boot.
package netboot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/images"
	"walt/images/content"
	"walt/images/flight"
	"walt/netboot/dhcp"
	"walt/netboot/nfs"
	"walt/nodes"
	"walt/pause"
	"walt/state"
)

// Ports of the server, on the networks that machines are on.
const (
	PortDHCP  = 67   // addresses
	PortHTTP  = 80   // instructions, and what machines start with
	PortNFS   = 2049 // root file systems
	PortAgent = 1912 // where agents report
)

const (
	// headerLimit is how long a machine may take to ask, and stay silent after that.
	headerLimit = 30 * time.Second
	// headerSize is how many bytes its question may have.
	headerSize = 8 << 10
	// acceptAgain is how long no connection is accepted after one could not be.
	acceptAgain = time.Second
)

// Lab is what machines are nodes of.
type Lab interface {
	// Boot says which image the node is to boot now, and records that it took it.
	Boot(context.Context, nodes.Name) (images.Image, error)
	// Reached is told of each step of its boot, Prepares of when the server begins to make
	// ready what it boots, and has.
	Reached(context.Context, nodes.Name, nodes.Step)
	Prepares(ctx context.Context, n nodes.Name, begins bool)
	// Sent is told of a file that was sent for a step, and Refused of one that it does not
	// get.
	Sent(ctx context.Context, n nodes.Name, step nodes.Step, bytes int64, took time.Duration)
	Refused(ctx context.Context, n nodes.Name, file, why string)
	// Up is told when its SSH server answers, at addr.
	Up(n nodes.Name, addr string)
	// Lost is told when the connection of its agent has ended, when the agent said
	// something last, and what may be the reason.
	Lost(n nodes.Name, heard time.Time, about string)
	// Itself is told which model it says that it is, when it is up.
	Itself(context.Context, nodes.Name, images.Model) error
	// Stopped is told when its init answers at addr and goes no further, since it failed,
	// or as the node is set: failed is nil then.
	Stopped(n nodes.Name, addr string, failed error)
	// Ended is told how the process of an image without an init ended, while the node goes
	// on; again is that it was told before, too.
	Ended(n nodes.Name, how string, again bool)
	// Troubled is told of what is wrong on a network, under a key, until Calmed is.
	Troubled(ctx context.Context, key string, t nodes.Trouble)
	Calmed(key string)
	// Wrote is told how many bytes it has written since its boot, and how many it may.
	Wrote(n nodes.Name, bytes, most int64)
	// Admitted returns who may log in to it now.
	Admitted(context.Context, nodes.Name) (*nodes.Admission, error)
}

// Library is what images are made of.
type Library interface {
	// Hold returns the files of the image with the manifest digest, which stay until
	// release is called, and what it is configured to run.
	Hold(ctx context.Context, digest string) (t *content.Tree, run images.Runtime, release func(), err error)
	// Runs returns the platforms that machines of a model run, the best first, or none when
	// nobody tells.
	Runs(images.Model) []string
}

// Config is what a Server is made of.
type Config struct {
	Store   state.Store
	Lab     Lab
	Library Library
	Dir     string // for kernels and initramfs, which can be made again
	// Agent returns the program of ours for an architecture, always the same.
	Agent func(arch string) ([]byte, error)
	Trust ssh.PublicKey // that may log in to machines, beside whom the lab admits
	// HostCA signs the host keys of machines.
	HostCA ssh.Signer
	Log    *slog.Logger
	Now    func() time.Time
}

// Machine is who boots.
type Machine struct {
	Name nodes.Name
	MAC  ethernet.MAC
	IP   netip.Addr
	// Server is the address under which the machine reaches this server, and Net the
	// network that both are on.
	Server netip.Addr
	Net    netip.Prefix
	// Router is the way out of that, DNS who answers names there: the zero Addr when there
	// is none.
	Router, DNS netip.Addr
	Domain      string // behind the names of machines there, "" for none
	Leased      bool   // another server gave it its address, for a while

	Model   images.Model // "" when it is not known: it may be any
	Virtual bool         // it runs on the server: its devices are virtio

	Memory int64 // bytes that it has, 0 when that is not known

	Params string // of its kernel, beside those that a boot needs

	Settings nodes.Settings
}

// Server serves machines. Its methods may be called at the same time.
type Server struct {
	Config
	files *artefacts

	looks flight.Group[struct{}]
	turns turns

	mu       sync.Mutex
	boots    map[netip.Addr]*boot       // the last one of each machine
	kernel   string                     // see SetKernel
	models   map[images.Model]ModelBoot // see SetModels
	loader   nodes.Loader               // see SetLoader
	findings map[pair]finding

	roots map[*nfs.Server]struct{} // that serve root file systems

	doubles map[ethernet.MAC]*time.Timer // until two devices with a MAC address are forgotten

	complained map[netip.Addr]time.Time // when something of it was last logged

	sites map[Site]struct{} // that are served
}

// New makes a server, which Serve makes live.
func New(c Config) *Server {
	t := make(turns, modulesAtOnce)
	return &Server{Config: c, turns: t, boots: map[netip.Addr]*boot{}, doubles: map[ethernet.MAC]*time.Timer{}, roots: map[*nfs.Server]struct{}{}, sites: map[Site]struct{}{}, findings: map[pair]finding{}, files: newArtefacts(c.Dir, t)}
}

// Network is how machines reach the server: sockets of a network of theirs.
type Network interface {
	Listen(port uint16) (net.Listener, error)
	// ListenBroadcast is for UDP that is sent to everybody.
	ListenBroadcast(port uint16) (net.PacketConn, error)
	// Prod has a machine find out whether the server still knows a connection of it, from
	// a port of the machine to one of the server. One that it knows is not disturbed.
	Prod(server uint16, machine netip.AddrPort)
}

// Site is a network whose machines start by themselves, and ask what to do.
type Site interface {
	// Handle adds what they ask for by HTTP.
	Handle(*http.ServeMux)
	// Begin serves what else they begin to boot with, until ctx ends.
	Begin(ctx context.Context) error
	// Called returns what the device at an address is called, false when there is none.
	Called(context.Context, netip.Addr) (nodes.Name, bool)
}

// Tree implements nfs.Exports: a machine sees the image that it boots.
func (s *Server) Tree(_ context.Context, client netip.Addr, image nfs.ID) (*content.Tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boots[client]
	if b == nil {
		return nil, nil
	}
	for _, r := range b.roots {
		if r.id == image {
			return r.tree, nil
		}
	}
	return nil, nil
}

// Serve serves the machines of one network, until ctx ends.
func (s *Server) Serve(ctx context.Context, on Network) error {
	addresses, err := on.ListenBroadcast(PortDHCP)
	if err != nil {
		return fmt.Errorf("serve machines on port %d: %w", PortDHCP, err)
	}
	return s.serve(ctx, on, s.handlers(), func(ctx context.Context) error {
		return (&dhcp.Server{Hosts: s, Log: s.Log}).Serve(ctx, addresses)
	})
}

// ServeSite serves those of a site, until ctx ends.
func (s *Server) ServeSite(ctx context.Context, on Network, site Site) error {
	s.mu.Lock()
	s.sites[site] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sites, site)
	}()
	web := s.handlers()
	site.Handle(web)
	return s.serve(ctx, on, web, site.Begin)
}

// served are the sites that are served.
func (s *Server) served() []Site {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.sites))
}

// handlers answer what machines ask for by HTTP.
func (s *Server) handlers() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot/{token}", s.instruct)
	mux.HandleFunc("GET /root/{token}/{layer}", s.sendRoot)
	mux.HandleFunc("GET /ipxe/{token}", s.script)
	mux.HandleFunc("GET /kernel/{token}", s.sendKernel)
	mux.HandleFunc("GET /initrd/{token}", s.sendInitrd)
	mux.HandleFunc("GET /{rest...}", s.noFile)
	return mux
}

// serve serves what machines boot, and their agents, beside what they begin with.
func (s *Server) serve(ctx context.Context, on Network, handlers http.Handler, begin func(context.Context) error) error {
	var listeners []net.Listener
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	defer closeAll()
	for _, port := range []uint16{PortHTTP, PortNFS, PortAgent} {
		l, err := on.Listen(port)
		if err != nil {
			return fmt.Errorf("serve machines on port %d: %w", port, err)
		}
		listeners = append(listeners, l)
	}
	web := &http.Server{
		Handler: bodiless(handlers), ReadHeaderTimeout: headerLimit, WriteTimeout: fileLimit, IdleTimeout: headerLimit, MaxHeaderBytes: headerSize,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	files := &nfs.Server{Exports: s, Log: s.Log, Warn: s.refuseFiles}
	defer s.servesRoots(files)()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := web.Serve(listeners[0]); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error { return files.Serve(listeners[1]) })
	g.Go(func() error { return s.listen(ctx, on, listeners[2]) })
	g.Go(func() error { return begin(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return errors.Join(web.Close(), files.Close(), listeners[2].Close())
	})
	return g.Wait()
}

// listen serves agents until the listener is closed.
func (s *Server) listen(ctx context.Context, on Network, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			s.Complain(netip.Addr{}, "an agent is not heard", "err", err) // as there are too many files
			if pause.For(ctx, acceptAgain) != nil {
				return nil
			}
			continue
		}
		conns.Go(func() { // ends with the connection, or with ctx
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.hear(ctx, on, c)
		})
	}
}
