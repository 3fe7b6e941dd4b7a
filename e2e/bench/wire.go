//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// addresses is how many addresses devices may get.
const addresses = 250

// wire is the end of the network of boards and PCs where these are: a network namespace
// that has all their addresses, and a thread in it, which opens sockets.
type wire struct {
	tasks chan func()
	dhcp  *net.UDPConn // port 68 of all of them

	mu      sync.Mutex
	waiting map[string]chan *dhcpv4.DHCPv4 // by MAC address
}

// newWire makes the network: the server's end of it is lab0.
func newWire() (*wire, error) {
	w := &wire{tasks: make(chan func()), waiting: map[string]chan *dhcpv4.DHCPv4{}}
	thread, begun := 0, make(chan error)
	go func() { // ends with the program
		runtime.LockOSThread()
		thread = unix.Gettid()
		begun <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range w.tasks {
			f()
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	err := runAll("ip link set lo up", "ip link add lab0 type veth peer name dev0 netns "+strconv.Itoa(thread),
		"ip address add "+serverAddr.String()+"/16 dev lab0", "ip link set lab0 up")
	if err != nil {
		return nil, err
	}
	err = w.do(func() error {
		var batch strings.Builder
		for i := range addresses {
			fmt.Fprintf(&batch, "address add 10.31.1.%d/16 dev dev0\n", i+1)
		}
		c := exec.Command("ip", "-batch", "-")
		c.Stdin = strings.NewReader(batch.String())
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("give devices addresses: %w: %s", err, out)
		}
		return runAll("ip link set dev0 up")
	})
	if err == nil {
		w.dhcp, err = w.listen(netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpv4.ClientPort))
	}
	if err != nil {
		return nil, err
	}
	go w.hear()
	return w, nil
}

// runAll runs programs, one after the other.
func runAll(commands ...string) error {
	for _, c := range commands {
		f := strings.Fields(c)
		if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return nil
}

// do does something on the thread.
func (w *wire) do(f func() error) error {
	done := make(chan error)
	w.tasks <- func() { done <- f() }
	return <-done
}

// listen opens a UDP socket of a device.
func (w *wire) listen(at netip.AddrPort) (conn *net.UDPConn, err error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "dev0") }) // what goes to everybody needs no way then
	}}
	bad := w.do(func() error {
		p, err := c.ListenPacket(context.Background(), "udp4", at.String())
		conn, _ = p.(*net.UDPConn)
		return err
	})
	return conn, errors.Join(err, bad)
}

// dialTCP opens a TCP connection of a device.
func (w *wire) dialTCP(from netip.Addr, to string) (conn net.Conn, err error) {
	err = w.do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err = d.DialContext(context.Background(), "tcp4", to)
		return err
	})
	return conn, err
}

// hear hands answers of DHCP to the devices that they are for, until the program ends.
func (w *wire) hear() {
	b := make([]byte, 2048)
	for {
		n, err := w.dhcp.Read(b)
		if err != nil {
			return
		}
		a, err := dhcpv4.FromBytes(b[:n])
		if err != nil {
			continue
		}
		w.mu.Lock()
		answers := w.waiting[a.ClientHWAddr.String()]
		w.mu.Unlock()
		select {
		case answers <- a:
		default: // nobody waits for it
		}
	}
}

// errSilent says that a server does not answer.
var errSilent = errors.New("the server is silent")

// ask sends a question of DHCP to everybody until it is answered: tries times, and waits as
// long as patience after each. It returns when the first of them was answered.
func (w *wire) ask(q *dhcpv4.DHCPv4, patience time.Duration, tries int) (a *dhcpv4.DHCPv4, took time.Duration, err error) {
	answers, wanted := make(chan *dhcpv4.DHCPv4, 8), dhcpv4.MessageTypeOffer
	if q.MessageType() == dhcpv4.MessageTypeRequest {
		wanted = dhcpv4.MessageTypeAck
	}
	w.mu.Lock()
	w.waiting[q.ClientHWAddr.String()] = answers
	w.mu.Unlock()
	begun, packet := time.Now(), q.ToBytes()
	for range tries {
		if _, err := w.dhcp.WriteTo(packet, &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}); err != nil {
			return nil, 0, err
		}
		for waits := time.After(patience); waits != nil; {
			select {
			case a := <-answers:
				if a.TransactionID == q.TransactionID && a.MessageType() == wanted { // else it is to a question before
					return a, time.Since(begun), nil
				}
			case <-waits:
				waits = nil
			}
		}
	}
	return nil, 0, fmt.Errorf("%s asks for its address: %w", q.ClientHWAddr, errSilent)
}

// fetch is a file that a device gets by TFTP, as firmware does.
type fetch struct {
	from   netip.Addr
	server netip.AddrPort
	name   string
	block  int // bytes; 512 is not asked for
	window int // blocks; 1 is not asked for
	// patience is how long it waits for a packet before it asks again, and tries how often
	// it does so before it begins anew.
	patience time.Duration
	tries    int
	// has is called, unless it is nil, with how many bytes it has.
	has func(bytes int) error
}

// fetched is what came of that.
type fetched struct {
	bytes int
	first time.Duration // until the server answered
	took  time.Duration
	anew  int // how often it began anew
}

// fetch gets a file. It gives up when the server is silent for a minute.
func (w *wire) fetch(f fetch) (got fetched, err error) {
	conn, err := w.listen(netip.AddrPortFrom(f.from, 0))
	if err != nil {
		return got, err
	}
	defer conn.Close()
	ask := "\x00\x01" + f.name + "\x00octet\x00"
	if f.block != 512 {
		ask += "blksize\x00" + strconv.Itoa(f.block) + "\x00"
	}
	if f.window != 1 {
		ask += "windowsize\x00" + strconv.Itoa(f.window) + "\x00"
	}
	const limit = time.Minute
	b := make([]byte, 2048)
	for begun := time.Now(); time.Since(begun) < limit; got.anew++ {
		got.bytes = 0
		last, to := []byte(ask), f.server
		block, silent := 0, 0 // the last block that it has, and how often in a row it heard nothing
		if _, err := conn.WriteToUDPAddrPort(last, to); err != nil {
			return got, err
		}
		for silent < f.tries {
			if err := conn.SetReadDeadline(time.Now().Add(f.patience)); err != nil {
				return got, err
			}
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				silent++
				if _, err := conn.WriteToUDPAddrPort(last, to); err != nil {
					return got, err
				}
				continue
			}
			if err != nil {
				return got, err
			}
			if got.first == 0 {
				got.first = time.Since(begun)
			}
			whole := false
			switch kind, number := b[1], int(binary.BigEndian.Uint16(b[2:])); {
			case kind == 5:
				return got, fmt.Errorf("%s: %q", f.name, b[4:n])
			case kind == 6 && block == 0:
				if !bytes.Contains(b[:n], []byte("windowsize")) { // it does not know that
					f.window = 1
				}
				last, to = []byte{0, 4, 0, 0}, from
			case kind == 3 && number == (block+1)&0xffff:
				block, to, silent = block+1, from, 0
				got.bytes += n - 4
				if f.has != nil {
					if err := f.has(got.bytes); err != nil {
						return got, err
					}
				}
				whole = n-4 < f.block
				if block%f.window != 0 && !whole {
					continue
				}
				last = []byte{0, 4, byte(block >> 8), byte(block)}
			default: // what was sent twice, or of a file before
				continue
			}
			if _, err := conn.WriteToUDPAddrPort(last, to); err != nil {
				return got, err
			}
			if whole {
				got.took = time.Since(begun)
				return got, nil
			}
		}
	}
	return got, fmt.Errorf("%s: %w", f.name, errSilent)
}
