//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// soonest is how long is waited at least before a server is asked again, and later the
	// same when none has answered yet, or one has denied the address.
	soonest, later = 10 * time.Second, time.Minute
)

// keepAddress has the machine keep its address, where a server of the site gave it that:
// nothing else does, since the root comes over it. A machine that loses it goes on, as it
// could not without it, and the server tells people.
func (m *machine) keepAddress(ip netip.Addr) {
	for l := (lease{}); ; {
		got, err := renew(ip, l.asked(time.Now()))
		if err == nil {
			l = got
		}
		m.holds(ip, l.trouble(time.Now(), err))
		wait := l.next(time.Now(), err)
		if wait == 0 {
			return
		}
		time.Sleep(wait)
	}
}

// holds notes why the machine may not have its address any more, "" when it may.
func (m *machine) holds(ip netip.Addr, denied string) {
	m.mu.Lock()
	before := m.denied
	m.mu.Unlock()
	if denied == before {
		return
	}
	m.log.logf("its address %s: %s", ip, cmp.Or(denied, "it is its own again"))
	m.set(func() { m.denied = denied })
}

// asked is the server that is asked: the one that gave the lease, or any when it has little
// left, or none gave it yet.
func (l lease) asked(now time.Time) netip.Addr {
	if now.Sub(l.since) >= l.length*7/8 { // T2
		return netip.Addr{}
	}
	return l.server
}

// trouble is what it means for the address that asking came to an error.
func (l lease) trouble(now time.Time, err error) string {
	switch {
	case errors.Is(err, errDenied):
		return err.Error()
	case err != nil && l.length > 0 && now.Sub(l.since) >= l.length:
		return "no DHCP server renews its lease, which is over"
	}
	return ""
}

// next is after how long is asked again, when the last time came to an error or not; 0 for
// never.
func (l lease) next(now time.Time, err error) time.Duration {
	left := l.since.Add(l.length).Sub(now)
	switch {
	case err == nil && l.length == 0:
		return 0
	case err == nil:
		return max(l.since.Add(l.renew).Sub(now), soonest)
	case errors.Is(err, errDenied), left <= 0:
		return later
	}
	return max(left/2, soonest)
}

// renew asks a server, or all of them, that the machine keeps its address.
func renew(ip, server netip.Addr) (lease, error) {
	i, err := interfaceOf(ip)
	if err != nil {
		return lease{}, err
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (failed error) {
		err := raw.Control(func(fd uintptr) {
			failed = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), // the image may have a client for another interface
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), i.Name),
			)
		})
		return errors.Join(err, failed)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", ":68")
	if err != nil {
		return lease{}, err
	}
	defer conn.Close()
	return client{conn, i.HardwareAddr, ip, answerWait}.renew(server)
}

// interfaceOf is the one that has an address: it may be called otherwise by now.
func interfaceOf(ip netip.Addr) (net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, err
	}
	for _, i := range all {
		addrs, _ := i.Addrs() // one without has none
		for _, a := range addrs {
			if n, is := a.(*net.IPNet); is && n.IP.Equal(ip.AsSlice()) {
				return i, nil
			}
		}
	}
	return net.Interface{}, fmt.Errorf("no interface has the address %s any more", ip)
}
