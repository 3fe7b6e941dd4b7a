//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"walt/netboot/dhcp"
)

// lessor is a server that knows one machine, by the address that it has now.
type lessor struct{ ip netip.Addr }

func (l *lessor) Host(_ context.Context, c dhcp.Client) (dhcp.Host, bool) {
	return dhcp.Host{IP: l.ip, Net: netip.MustParsePrefix("127.0.0.0/8"), Server: netip.MustParseAddr("127.0.0.1")}, c.MAC == "52:54:00:00:00:01"
}

// to sends everything to one address, and tells where it should have gone.
type to struct {
	net.PacketConn
	addr net.Addr
	sent func(net.Addr)
}

func (t to) WriteTo(b []byte, addr net.Addr) (int, error) {
	t.sent(addr)
	return t.PacketConn.WriteTo(b, t.addr)
}

// A server of DHCP, which is a stranger, lets a machine keep its address, or not.
func TestRenew(t *testing.T) {
	t.Parallel()
	var conns [2]net.PacketConn
	for i := range conns {
		var err error
		if conns[i], err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	ip := netip.MustParseAddr("127.0.0.7")
	hosts := &lessor{ip}
	served := make(chan error, 1)
	server := to{conns[0], conns[1].LocalAddr(), func(net.Addr) {}}
	go func() {
		served <- (&dhcp.Server{Hosts: hosts, Log: slog.New(slog.DiscardHandler)}).Serve(t.Context(), server)
	}()
	var asked []string
	mac, _ := net.ParseMAC("52:54:00:00:00:01")
	c := client{to{conns[1], conns[0].LocalAddr(), func(a net.Addr) { asked = append(asked, a.String()) }}, mac, ip, 20 * time.Second}

	l, err := c.renew(netip.Addr{})
	if err != nil || l.length != 24*time.Hour || l.renew != 12*time.Hour || l.server.String() != "127.0.0.1" || time.Since(l.since) > time.Minute {
		t.Errorf("its lease is %+v, %v", l, err)
	}
	if _, err := c.renew(l.server); err != nil || len(asked) != 2 || asked[0] != "255.255.255.255:67" || asked[1] != "127.0.0.1:67" {
		t.Errorf("it asks %v, %v", asked, err)
	}
	// The server gives it another address.
	c.ip = netip.MustParseAddr("127.0.0.8")
	if _, err := c.renew(l.server); !errors.Is(err, errDenied) || err.Error() != errDenied.Error()+": it may have 127.0.0.7" {
		t.Errorf("another address: %v", err)
	}
	// One without an answer.
	c.ip, c.mac[5], c.wait = ip, 2, time.Millisecond
	if _, err := c.renew(l.server); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger: %v", err)
	}
	conns[0].Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// When a lease is renewed, whom the machine asks for that, and when it has lost its address.
func TestLease(t *testing.T) {
	server := netip.MustParseAddr("192.0.2.1")
	began := time.Now()
	hour := lease{began, time.Hour, 30 * time.Minute, server}
	silent := os.ErrDeadlineExceeded
	for what, c := range map[string]struct {
		l     lease
		after time.Duration
		err   error
		again time.Duration
		whom  netip.Addr
		lost  bool
	}{
		"none yet":              {lease{}, 0, silent, later, netip.Addr{}, false},
		"without an end":        {lease{began, 0, 0, server}, 0, nil, 0, netip.Addr{}, false},
		"new":                   {hour, 0, nil, 30 * time.Minute, server, false},
		"shorter than a moment": {lease{began, 2 * time.Second, time.Second, server}, 0, nil, soonest, server, false},
		"half over, no answer":  {hour, 30 * time.Minute, silent, 15 * time.Minute, server, false},
		"almost over":           {hour, 53 * time.Minute, silent, 210 * time.Second, netip.Addr{}, false},
		"over":                  {hour, 61 * time.Minute, silent, later, netip.Addr{}, true},
		"denied":                {hour, time.Minute, errDenied, later, server, true},
	} {
		now := began.Add(c.after)
		if again, whom, lost := c.l.next(now, c.err), c.l.asked(now), c.l.trouble(now, c.err) != ""; again != c.again || whom != c.whom || lost != c.lost {
			t.Errorf("%s: again after %v, asking %v, lost %v", what, again, whom, lost)
		}
	}
}
