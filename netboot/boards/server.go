// Package boards serves the boards and PCs on an interface of the host, which begin to boot by
// themselves: it gives them addresses, or stands beside who does, sends the firmware of each
// kind what that boots with, and tells them names and the time. Who they are is asked of the
// lab, and what they boot of netboot. Its one surprising rule: who asks is known by the address
// that it asks from.
package boards

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"walt/ethernet"
	"walt/netboot"
	"walt/nodes"
	"walt/state"
)

// Lab is what boards and PCs are devices of.
type Lab interface {
	// Met is told of a device that asks for its address, and returns what the lab has it
	// for. An error that is a fault says why it stays out.
	Met(context.Context, nodes.Arrival) (nodes.Device, error)
	// Device returns the one with a MAC address, false when there is none.
	Device(context.Context, ethernet.MAC) (nodes.Device, bool, error)
	// Called returns the one with a name, false when there is none.
	Called(context.Context, nodes.Name) (nodes.Device, bool, error)
	// Asleep is told of one whose firmware has stopped, and goes on when its power was cut.
	Asleep(ctx context.Context, mac ethernet.MAC, why string) error
	// Strayed is told when its operating system asks for its address, and is none that it
	// booted here.
	Strayed(context.Context, nodes.Name)
	// Failed is told when it cannot boot.
	Failed(nodes.Name, error)
	// Reached, Sent, Refused, Troubled and Calmed are as in netboot.Lab.
	Reached(context.Context, nodes.Name, nodes.Step)
	Sent(ctx context.Context, n nodes.Name, step nodes.Step, bytes int64, took time.Duration)
	Refused(ctx context.Context, n nodes.Name, file, why string)
	Troubled(ctx context.Context, key string, t nodes.Trouble)
	Calmed(key string)
}

// Config is what a Server is made of.
type Config struct {
	Boots   *netboot.Server
	Lab     Lab
	Store   state.Store
	Library netboot.Library
	Log     *slog.Logger
	Now     func() time.Time
}

// Server serves boards and PCs, on one segment at a time. Its methods may be called at the same
// time.
type Server struct {
	Config
	segment *latest[*boards] // that is served

	mu       sync.Mutex
	firmware string // see SetFirmware
}

// New makes a server, which Serve makes live.
func New(c Config) *Server { return &Server{Config: c, segment: newLatest[*boards]()} }

// Serve serves the devices of a segment, until ctx ends. It gives them addresses unless
// another server does: mac is who asks for that, this host.
func (s *Server) Serve(ctx context.Context, on Network, segment Segment, mac net.HardwareAddr) error {
	b := newBoards(s, on, segment, mac)
	s.segment.set(b, nil)
	if err := b.resume(ctx); err != nil {
		return err
	}
	return s.Boots.ServeSite(ctx, on, b)
}

// SetFirmware says which image lends boards the firmware that theirs does not have:
// OWNER/NAME, or the NAME of a default image; "" is none.
func (s *Server) SetFirmware(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.firmware = image
}

// Unserved is told why boards and PCs cannot be served: machines of the server that are on
// their network cannot either.
func (s *Server) Unserved(why error) { s.segment.set(nil, why) }

// OnSegment is where a machine of the server is on the network of boards and PCs: its
// address is one of theirs, and it reaches what they do. It waits until it is known whether
// they are served.
func (s *Server) OnSegment(ctx context.Context, mac ethernet.MAC) (netboot.Machine, error) {
	b, err := s.segment.get(ctx)
	if err != nil {
		return netboot.Machine{}, err
	}
	ip, err := b.Boots.Lease(ctx, mac, b.pool())
	if err != nil {
		return netboot.Machine{}, err
	}
	b.holds(ip, mac)
	return b.place(ip), nil
}

// Begins returns why nobody begins to boot on that network now, nil when they do: as boards
// and PCs, no machine uses an address there that another server may give away. It waits
// until that is known.
func (s *Server) Begins(ctx context.Context) error {
	b, err := s.segment.get(ctx)
	if err == nil {
		_, err = b.begun.get(ctx)
	}
	return err
}
