//go:build linux

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// The messages of DHCP, RFC 2131 and 2132, as far as a client needs them that has an address:
// a library for all of it is as large as the rest of what the agent does about networks.

// errDenied says that a server does not leave the machine its address.
var errDenied = errors.New("the DHCP server of the network does not leave it this address")

// Kinds of messages, and options in them.
const (
	discover, offer, request, ack, nak = 1, 2, 3, 5, 6

	optLease, optWanted, optKind, optServer, optRenew, optClient, optEnd = 51, 50, 53, 54, 58, 61, 255
)

const (
	serverPort = 67
	// asks is how often a server is asked, since a packet may get lost, and answerWait for how
	// long its answer is waited for, each time.
	asks, answerWait = 3, 4 * time.Second
	// endless is the length, in seconds, of a lease without an end.
	endless = 1<<32 - 1
	// fixed is the size of what precedes the options, with their mark.
	fixed = 240
)

var magic = []byte{99, 130, 83, 99}

// lease is the right to an address.
type lease struct {
	since  time.Time     // when it was asked for
	length time.Duration // 0: it has no end
	renew  time.Duration // after which it is time to ask anew, T1
	server netip.Addr    // that gave it
}

// client asks servers for the address that it has.
type client struct {
	conn net.PacketConn
	mac  net.HardwareAddr
	ip   netip.Addr
	wait time.Duration // for an answer, each time
}

// renew asks that the address stays the client's: the server that gave it, or, where that is
// not valid, all of them. When nobody answers the error is os.ErrDeadlineExceeded. Servers that
// forgot their leases deny it, or are silent: then it looks for it once more as for a new one.
func (c client) renew(server netip.Addr) (lease, error) {
	since := time.Now()
	a, err := c.ask(server, request, c.ip, nil)
	switch {
	case errors.Is(err, errDenied):
		since = time.Now()
		a, err = c.again()
	case errors.Is(err, os.ErrDeadlineExceeded) && !server.IsValid():
		since = time.Now()
		if found, failed := c.again(); failed == nil {
			a, err = found, nil
		}
	}
	if err != nil {
		return lease{}, err
	}
	l := lease{since: since, server: a.addr(optServer), length: a.seconds(optLease), renew: a.seconds(optRenew)}
	if l.length == endless*time.Second {
		l.length = 0
	}
	if l.renew == 0 || l.renew >= l.length {
		l.renew = l.length / 2
	}
	return l, nil
}

// again looks for the address as one that has none would.
func (c client) again() (reply, error) {
	wanted := option(optWanted, c.ip.AsSlice())
	a, err := c.ask(netip.Addr{}, discover, netip.Addr{}, wanted)
	if err != nil {
		return a, err
	}
	if a.ip != c.ip {
		return a, fmt.Errorf("%w: it may have %s", errDenied, a.ip)
	}
	return c.ask(netip.Addr{}, request, netip.Addr{}, append(wanted, option(optServer, a.addr(optServer).AsSlice())...))
}

// ask asks a server, or all of them, and returns the answer, unless it is that of errDenied.
// has is the address that the client has, the zero Addr for none.
func (c client) ask(server netip.Addr, kind byte, has netip.Addr, more []byte) (reply, error) {
	q := c.message(kind, has, more)
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort}
	if server.IsValid() {
		to.IP = server.AsSlice()
	}
	for range asks {
		if _, err := c.conn.WriteTo(q, to); err != nil {
			return reply{}, err
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(c.wait)); err != nil {
			return reply{}, err
		}
		a, err := c.read(q, kind)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return a, err
		}
	}
	return reply{}, os.ErrDeadlineExceeded
}

// message is a question. The identifier of the client is that of loaders, which took the address.
func (c client) message(kind byte, has netip.Addr, more []byte) []byte {
	b := make([]byte, fixed-len(magic))
	b[0], b[1], b[2] = 1, 1, 6 // a question, of Ethernet
	rand.Read(b[4:8])          // never fails, see its documentation
	if has.IsValid() {
		copy(b[12:16], has.AsSlice())
	} else {
		b[10] = 0x80 // the answer goes to everybody
	}
	copy(b[28:], c.mac)
	b = append(b, magic...)
	b = append(b, option(optKind, []byte{kind})...)
	b = append(b, option(optClient, append([]byte{1}, c.mac...))...)
	b = append(append(b, more...), optEnd)
	return append(b, make([]byte, max(0, 300-len(b)))...) // what BOOTP has at least
}

func option(number byte, value []byte) []byte {
	return append([]byte{number, byte(len(value))}, value...)
}

// read waits for the answer to a question.
func (c client) read(q []byte, kind byte) (reply, error) {
	for b := make([]byte, 1500); ; {
		n, _, err := c.conn.ReadFrom(b)
		if err != nil {
			return reply{}, err
		}
		a, ok := parseReply(b[:n], q)
		switch {
		case !ok:
		case a.kind() == nak:
			return a, errDenied
		case a.kind() == ack && kind == request, a.kind() == offer && kind == discover:
			return a, nil
		}
	}
}

// reply is what a server says.
type reply struct {
	ip      netip.Addr // of the client
	options map[byte][]byte
}

// parseReply returns what a packet says, false when it is no answer to a question.
func parseReply(b, q []byte) (a reply, ok bool) {
	if len(b) < fixed || b[0] != 2 || !bytes.Equal(b[4:8], q[4:8]) || !bytes.Equal(b[28:34], q[28:34]) || !bytes.Equal(b[fixed-len(magic):fixed], magic) {
		return a, false
	}
	a = reply{netip.AddrFrom4([4]byte(b[16:20])), map[byte][]byte{}}
	for b = b[fixed:]; len(b) > 0 && b[0] != optEnd; {
		if b[0] == 0 { // one that fills room
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return a, false
		}
		a.options[b[0]], b = b[2:2+int(b[1])], b[2+int(b[1]):]
	}
	return a, true
}

func (a reply) kind() byte {
	if v := a.options[optKind]; len(v) == 1 {
		return v[0]
	}
	return 0
}

func (a reply) addr(number byte) netip.Addr {
	if v := a.options[number]; len(v) == 4 {
		return netip.AddrFrom4([4]byte(v))
	}
	return netip.Addr{}
}

func (a reply) seconds(number byte) time.Duration {
	if v := a.options[number]; len(v) == 4 {
		return time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	}
	return 0
}
