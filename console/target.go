package console

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"walt/fault"
)

// Target is what the serial line of a board is connected to: a TCP port, of ser2net or of a
// terminal server; or a device of the server. The zero Target is nothing.
type Target struct {
	Addr   string // host:port
	Telnet bool   // is spoken there, else all bytes are passed on as they are
	Device string // as in /dev/ttyUSB0
	Speed  int    // of the device, in baud
}

// Targets says in words what ParseTarget takes.
const Targets = "none, tcp:// or telnet://HOST:PORT, /dev/ttyUSB0,115200"

const (
	usualSpeed   = 115200
	rawScheme    = "tcp://"
	telnetScheme = "telnet://"
	telnetPort   = "23" // where none is said
	longest      = 255  // bytes of a target
)

// errTarget is the error for what is no target.
var errTarget = errors.New("want " + Targets)

// ParseTarget parses a target.
func ParseTarget(s string) (t Target, err error) {
	if s == "none" {
		return Target{}, nil
	}
	if len(s) > longest || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return t, errTarget
	}
	if addr, is := strings.CutPrefix(s, rawScheme); is {
		return parseAddr(addr)
	}
	if addr, is := strings.CutPrefix(s, telnetScheme); is {
		if !strings.Contains(addr[strings.LastIndexByte(addr, ']')+1:], ":") {
			addr += ":" + telnetPort
		}
		t, err = parseAddr(addr)
		t.Telnet = err == nil
		return t, err
	}
	t.Device, t.Speed = s, usualSpeed
	if name, speed, cut := strings.Cut(s, ","); cut {
		if t.Speed, err = strconv.Atoi(speed); err != nil || t.Speed < 50 || t.Speed > 4_000_000 {
			return Target{}, errTarget
		}
		t.Device = name
	}
	if !strings.HasPrefix(t.Device, "/dev/") || path.Clean(t.Device) != t.Device {
		return Target{}, errTarget
	}
	return t, nil
}

func parseAddr(addr string) (Target, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.ContainsAny(host, "/@?#") {
		return Target{}, errTarget
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Target{}, errTarget
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := nobody(ip); err != nil {
			return Target{}, fault.Failedf("%s cannot be where a serial line is: it is %v; nothing changed", host, err).
				WithHint("name the address of a terminal server, or of ser2net")
		}
	}
	return Target{Addr: addr}, nil
}

// String is the target as it was parsed, but for a speed that was left out.
func (t Target) String() string {
	switch {
	case t.Telnet:
		return telnetScheme + t.Addr
	case t.Addr != "":
		return rawScheme + t.Addr
	case t.Device != "":
		return t.Device + "," + strconv.Itoa(t.Speed)
	}
	return "none"
}

// nobody says what an address is that is not that of one machine, or is one whose services
// only this very host gets, as those of clouds that tell it its secrets.
func nobody(ip netip.Addr) error {
	switch ip = ip.Unmap(); {
	case ip.IsUnspecified():
		return errors.New("no address")
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("an address of many")
	case ip.IsLinkLocalUnicast():
		return errors.New("a link-local address")
	}
	return nil
}

const (
	// connectLimit is how long a terminal server may take to accept a connection.
	connectLimit = 10 * time.Second
	// Who says nothing for a minute and a half, not even that it is there, is gone.
	aliveAfter, aliveEach, aliveTimes = 30 * time.Second, 15 * time.Second, 4
)

// wire is an open connection to a serial line.
type wire interface {
	Plug
	Read([]byte) (int, error)
	Close() error
}

// open connects to the target. refuse says why an address is none for that.
func (t Target) open(ctx context.Context, refuse func(netip.AddrPort) error) (wire, error) {
	if t.Device != "" {
		return openDevice(t.Device, t.Speed)
	}
	d := net.Dialer{
		Timeout:         connectLimit,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveAfter, Interval: aliveEach, Count: aliveTimes},
		// Names are looked up anew for each connection: what they lead to is checked here.
		Control: func(_, addr string, socket syscall.RawConn) error {
			to, err := netip.ParseAddrPort(addr)
			if err == nil {
				err = nobody(to.Addr())
			}
			if err == nil {
				err = refuse(netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port()))
			}
			if err == nil && t.Telnet {
				err = keepUrgent(socket)
			}
			return err
		},
	}
	c, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	if t.Telnet {
		return newTelnet(c)
	}
	return raw{c}, nil
}

// raw is a connection to ser2net or a terminal server that passes on bytes as they are.
type raw struct{ net.Conn }

func (raw) Break(context.Context) error { return ErrNoBreak }
