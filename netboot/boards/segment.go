package boards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/pause"
)

const (
	portDHCPClient, portTFTP, portProxy = 68, 69, 4011
	// beginAgain is after how long the server looks again whether it may give addresses.
	beginAgain = time.Minute
	// BootTrouble is the key of what keeps boards and PCs from beginning to boot.
	BootTrouble = "boot"
)

// DHCP is what the server does of that on a segment.
type DHCP string

const (
	Full  DHCP = "full"  // it gives addresses, and says what to boot
	Proxy DHCP = "proxy" // it says what to boot, and another server gives addresses
	Off   DHCP = "off"   // another server does both
)

// Segment is a network of boards and PCs.
type Segment struct {
	Net         netip.Prefix
	Server      netip.Addr // this server on it
	DHCP        DHCP       // what the server does of it there
	First, Last netip.Addr // what devices get, where it gives addresses
	// Router is the way out, DNS who answers names of others: the zero Addr when there is none.
	Router, DNS netip.Addr
	Domain      string // behind the names of devices, "" for none
	// Loaders is the directory with iPXE for firmware that is something else.
	Loaders string
}

// pool are the addresses that devices get there.
func (on Segment) pool() netboot.Pool {
	return netboot.Pool{Net: on.Net, First: on.First, Last: on.Last, Others: []netip.Addr{on.Server, on.Router, on.DNS}}
}

// Gives reports whether devices get an address there.
func (on Segment) Gives(ip netip.Addr) bool { return on.pool().Has(ip) }

// Network is how boards and PCs reach the server.
type Network interface {
	netboot.Network
	ListenUDP(port uint16) (net.PacketConn, error)
	// DialUDP opens a socket to somebody. What is written goes to the MAC address, without
	// asking who has the other one; with a nil one as usual.
	DialUDP(netip.AddrPort, net.HardwareAddr) (net.Conn, error)
	// AskWho asks everybody who has an address, and waits for no answer.
	AskWho(netip.Addr) error
	// Neighbour is who has an address on the network, nil when nobody seems to.
	Neighbour(netip.Addr) net.HardwareAddr
	// HearServers calls heard with what servers of DHCP send that reaches this host, and
	// whose MAC address sent it, until ctx ends.
	HearServers(ctx context.Context, heard func(from net.HardwareAddr, packet []byte)) error
}

// Handle implements netboot.Site.
func (b *boards) Handle(web *http.ServeMux) {
	web.HandleFunc("GET /ipxe", b.script)
	web.HandleFunc("GET /boot/start.ipxe", b.script)
	web.HandleFunc("GET /boot/start.uboot", b.sendUBoot)
	for _, name := range filesOf(loaders, ownDrivers) {
		web.HandleFunc("GET /loader/"+name, func(w http.ResponseWriter, r *http.Request) { b.sendLoader(w, r, name) })
	}
}

// Begin implements netboot.Site: it serves addresses and loaders, names and the time. While it
// cannot serve the former, or another server gives addresses, those go on that run already, and
// it tries again.
func (b *boards) Begin(ctx context.Context) error {
	var answering sync.WaitGroup
	defer answering.Wait()
	answering.Go(func() { b.serveNames(ctx) }) // ends with ctx
	answering.Go(func() { b.serveTime(ctx) })  // so does this
	if b.DHCP == Full {
		var hearing sync.WaitGroup
		defer hearing.Wait()
		hearing.Go(func() { b.overhear(ctx) }) // ends with ctx
	}
	for told := ""; ; {
		var err error
		if b.DHCP == Full {
			err = b.alone(ctx)
		}
		if err == nil {
			b.Log.Info("boards and PCs boot from here", "network", b.Net, "address", b.Segment.Server, "dhcp", b.DHCP)
			told = ""
			b.begun.set(struct{}{}, nil)
			b.Lab.Calmed(BootTrouble)
			err = b.serveFirmware(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		b.begun.set(struct{}{}, fault.Failedf("boards and PCs cannot begin to boot from here: %v", err))
		if why := fault.Line(err); why != told {
			b.Log.Error("boards and PCs cannot begin to boot from here; it is tried again every minute", "network", b.Net, "err", err)
			told = why
			b.Lab.Troubled(ctx, BootTrouble, nodes.Trouble{Text: "boards and PCs cannot begin to boot from here: " + why})
		}
		if pause.For(ctx, beginAgain) != nil {
			return nil
		}
	}
}

// serveFirmware serves loaders, and what of DHCP the server does, until ctx ends, or one
// of them fails.
func (b *boards) serveFirmware(ctx context.Context) error {
	ports := b.Segment.ports(b.on)
	conns := make([]net.PacketConn, len(ports))
	for i, p := range ports {
		c, err := p.open(p.port)
		if err != nil {
			return unopened(p.port, err)
		}
		defer c.Close()
		conns[i] = c
	}
	answers := &dhcp.Server{Hosts: b, Proxy: b.DHCP == Proxy, Ask: b.on.AskWho, Chosen: b.chooses, Log: b.Log}
	dial := func(to netip.AddrPort) (net.Conn, error) {
		c, err := b.on.DialUDP(to, b.direct(to.Addr().Unmap()))
		if err != nil {
			b.Boots.Complain(to.Addr(), "answer who asks for a file", "err", err)
		}
		return c, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.watchROMs(ctx) })
	if b.DHCP == Full {
		g.Go(func() error { return b.watch(ctx) })
	}
	for i, p := range ports {
		g.Go(func() error {
			switch p.port {
			case netboot.PortDHCP:
				return answers.Serve(ctx, conns[i])
			case portProxy:
				return answers.ServeProxy(ctx, conns[i])
			}
			return (&tftp.Server{Files: told{b, "TFTP"}, Dial: dial, Log: b.Log}).Serve(ctx, conns[i])
		})
	}
	return g.Wait()
}

// opening is how a port of UDP is opened.
type opening struct {
	port uint16
	open func(uint16) (net.PacketConn, error)
}

// ports are those that firmware asks the server at.
func (on Segment) ports(network Network) []opening {
	all := []opening{{portTFTP, network.ListenUDP}}
	if on.DHCP != Off {
		all = append(all, opening{netboot.PortDHCP, network.ListenBroadcast})
	}
	if on.DHCP == Proxy {
		all = append(all, opening{portProxy, network.ListenUDP})
	}
	return all
}

// Check returns what keeps this process from serving boards and PCs on a segment.
func Check(ctx context.Context, on Network, segment Segment, mac net.HardwareAddr) error {
	if err := Openable(on, segment, mac); err != nil || segment.DHCP != Full {
		return err
	}
	return newBoards(nil, on, segment, mac).alone(ctx)
}

// The rights of Linux that serving a segment takes, see capabilities(7).
const (
	bindLow    = "CAP_NET_BIND_SERVICE" // without it opening such a port is EACCES
	rawPackets = "CAP_NET_RAW"          // without it opening a socket for packets is EPERM
)

const seePrograms = "end the other program; which one has a port, this tells: ss -tulpn"

const withRights = "run it as root, or with the capabilities " + bindLow + " and " + rawPackets + " (see: waltd help admin)"

// rightFor is the right whose lack an error tells of.
func rightFor(err error) string {
	if errors.Is(err, syscall.EACCES) {
		return bindLow
	}
	return rawPackets
}

// Openable returns a fault with all that keeps this process from opening what boards and
// PCs ask on a segment: every port, and every right that it lacks. It opens each for a
// moment.
func Openable(on Network, segment Segment, mac net.HardwareAddr) error {
	var why, denied, lacking, hints []string
	note := func(what string, err error) {
		switch {
		case errors.Is(err, os.ErrPermission):
			denied = append(denied, what)
			if right := rightFor(err); !slices.Contains(lacking, right) {
				lacking = append(lacking, right)
			}
		case errors.Is(err, syscall.EADDRINUSE):
			why, hints = append(why, "another program has "+what), []string{seePrograms}
		case err != nil:
			why = append(why, fmt.Sprintf("%s: %v", what, err))
		}
	}
	opened := func(port uint16, c io.Closer, err error) {
		if err == nil {
			err = c.Close()
		}
		note(fmt.Sprintf("port %d", port), err)
	}
	for _, port := range []uint16{netboot.PortHTTP, netboot.PortNFS, netboot.PortAgent} {
		l, err := on.Listen(port)
		opened(port, l, err)
	}
	for _, p := range segment.ports(on) {
		c, err := p.open(p.port)
		opened(p.port, c, err)
	}
	if c, err := on.DialUDP(netip.AddrPortFrom(segment.Server, portDHCPClient), mac); err == nil {
		c.Close()
	} else if errors.Is(err, os.ErrPermission) {
		note("sockets for packets", err)
	}
	if len(denied) > 0 {
		why = slices.Insert(why, 0, fmt.Sprintf("this process may not open %s: it lacks %s", listed(denied), listed(lacking)))
	}
	if len(why) == 0 {
		return nil
	}
	if len(lacking) > 0 {
		hints = slices.Insert(hints, 0, withRights)
	}
	return fault.Failedf("boards and PCs cannot be served: %s", strings.Join(why, "; ")).WithHint("%s", strings.Join(hints, "\n"))
}

// listed joins some words, as in "a, b and c".
func listed(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// unopened is why a port of the server cannot be opened, in words for who runs it.
func unopened(port uint16, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fault.Failedf("boards and PCs cannot be served: this process may not open port %d: it lacks %s", port, rightFor(err)).WithHint(withRights)
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.Failedf("boards and PCs cannot be served: another program has port %d", port).WithHint(seePrograms)
	case err != nil:
		return fmt.Errorf("serve boards and PCs on port %d: %w", port, err)
	}
	return nil
}

func newBoards(s *Server, on Network, segment Segment, mac net.HardwareAddr) *boards {
	return &boards{
		Server: s, Segment: segment, on: on, mac: mac, holders: map[netip.Addr]ethernet.MAC{}, busy: map[netip.Addr]bool{}, roms: map[ethernet.MAC]*rom{},
		foreign: map[netip.Addr]*foreigner{}, look: make(chan netip.Addr, 1),
		loaded: map[ethernet.MAC]bool{}, ran: map[ethernet.MAC]bool{}, silent: map[ethernet.MAC]int{},
		begun: newLatest[struct{}](),
	}
}
