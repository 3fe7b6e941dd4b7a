package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"walt/auth"
	"walt/config"
	"walt/ethernet"
	"walt/nodelogs"
	"walt/nodelogs/intake"
	"walt/nodes"
	"walt/pause"
	"walt/vnode/lan"
)

// lineLimits are those of what nodes say.
func lineLimits(c config.Log) nodelogs.Limits {
	return nodelogs.Limits{Size: c.Bytes, Each: c.NodeBytes, Age: c.Age.Duration}
}

// says keeps what a simulated node says: it has no address that it could say it from.
func (s *server) says(ctx context.Context, n nodes.Name, stream, line string) {
	mac, owner, known := s.lab.Speaker(ctx, n)
	for known && !s.nodeLogs.Add(mac, owner, stream, line) {
		if s.nodeLogs.Room(ctx) != nil {
			return
		}
	}
}

// speakers is who has which address.
type speakers struct{ *server }

func (s speakers) Speaker(ctx context.Context, from netip.Addr) (ethernet.MAC, auth.Name, bool) {
	n, known := s.netboot.NodeAt(from)
	if !known {
		return "", "", false
	}
	return s.lab.Speaker(ctx, n)
}

func (s speakers) Troubled(ctx context.Context, key, text string) {
	s.lab.Troubled(ctx, key, nodes.Trouble{Text: text})
}

func (s speakers) Calmed(key string) { s.lab.Calmed(key) }

// serveLines takes what machines say on their network.
func (s *server) serveLines(ctx context.Context, on *lan.LAN) error {
	sockets, err := lineSockets(on.Listen, on.ListenPacket)
	if err != nil {
		return err
	}
	return s.intake.Serve(ctx, sockets)
}

// linesTrouble is the key of that what boards and PCs say cannot be taken.
const linesTrouble = "lines"

// serveLinesOf takes what boards and PCs say on their network, until ctx ends. What keeps it
// from that, as a program that has the ports, is told, and it is tried again every minute.
func (s *server) serveLinesOf(ctx context.Context, listen func(uint16) (net.Listener, error), packets func(uint16) (net.PacketConn, error)) {
	for {
		sockets, err := lineSockets(listen, packets)
		if err == nil {
			s.lab.Calmed(linesTrouble)
			err = s.intake.Serve(ctx, sockets)
		}
		if ctx.Err() != nil {
			return
		}
		s.lab.Troubled(ctx, linesTrouble, nodes.Trouble{Text: "what boards and PCs say is not kept: " + err.Error()})
		if pause.For(ctx, time.Minute) != nil {
			return
		}
	}
}

// lineSockets opens what nodes say lines to.
func lineSockets(listen func(uint16) (net.Listener, error), packets func(uint16) (net.PacketConn, error)) (on intake.Sockets, err error) {
	tcp, err := listen(intake.SyslogPort)
	if err != nil {
		return on, err
	}
	udp, err := packets(intake.SyslogPort)
	if err != nil {
		return on, errors.Join(err, tcp.Close())
	}
	kernels, err := packets(intake.NetconsolePort)
	if err != nil {
		return on, errors.Join(err, tcp.Close(), udp.Close())
	}
	return intake.Sockets{TCP: tcp, UDP: udp, Netconsole: kernels}, nil
}
