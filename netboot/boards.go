package netboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/pause"
	"walt/state"
)

const (
	// boardParams are of the kernel of boards and PCs: they start anew by themselves after a
	// panic. PCs show what they do on both consoles; of boards the device tree tells where.
	boardParams, pcConsoles  = "panic=10", "console=ttyS0,115200 console=tty0"
	portDHCPClient, portTFTP = 68, 69
	// beginAgain is after how long the server looks again whether it may give addresses.
	beginAgain = time.Minute
	// meetLimit is how long the lab may take to say what a device is.
	meetLimit = 5 * time.Second
	// waits and failed are for how long, in seconds, a board sleeps before it asks again:
	// while it cannot boot yet, and after it could not.
	waits, failed = 5, 30
	// reasonLimit is how many characters of why it does not boot it shows.
	reasonLimit = 200
)

// Devices are those of the lab.
type Devices interface {
	// Met is told of a device that asks for its address, and returns what the lab has it
	// for. An error that is a fault says why it stays out.
	Met(context.Context, nodes.Arrival) (nodes.Device, error)
	// Device returns the one with a MAC address, false when there is none.
	Device(context.Context, ethernet.MAC) (nodes.Device, bool, error)
}

// Segment is a network of boards and PCs.
type Segment struct {
	Net         netip.Prefix
	Server      netip.Addr // this server on it
	First, Last netip.Addr // what devices get
	// Router is the way out, DNS who answers names: the zero Addr when there is none.
	Router, DNS netip.Addr
	// Loaders is the directory with iPXE for firmware that is something else.
	Loaders string
}

// BoardNetwork is how boards and PCs reach the server.
type BoardNetwork interface {
	Network
	ListenUDP(port uint16) (net.PacketConn, error)
	DialUDP(netip.AddrPort) (net.Conn, error)
}

// boards are the devices of a segment. They start when somebody switches them on, and
// then ask what they are to do; who they are is known by their addresses.
type boards struct {
	*Server
	Segment
	devices Devices

	mu      sync.Mutex
	holders map[netip.Addr]ethernet.MAC // of addresses
	busy    map[netip.Addr]bool         // whose boots are being prepared
}

// ServeBoards serves the devices of a segment, until ctx ends. It gives them addresses
// unless another server does: mac is who asks for that.
func (s *Server) ServeBoards(ctx context.Context, on BoardNetwork, segment Segment, mac net.HardwareAddr, devices Devices) error {
	b := &boards{Server: s, Segment: segment, devices: devices, holders: map[netip.Addr]ethernet.MAC{}, busy: map[netip.Addr]bool{}}
	if err := b.resume(ctx); err != nil {
		return err
	}
	web := s.handlers()
	web.HandleFunc("GET /ipxe", b.script)
	return s.serve(ctx, on, web, func(ctx context.Context) error { return b.begin(ctx, on, mac) })
}

// begin serves what devices begin to boot with: addresses and loaders. While it cannot, or
// another server gives addresses, those go on that run already, and it tries again.
func (b *boards) begin(ctx context.Context, on BoardNetwork, mac net.HardwareAddr) error {
	for told := ""; ; {
		err := alone(ctx, on, mac)
		if err == nil {
			b.Log.Info("boards and PCs boot from here", "network", b.Net, "address", b.Segment.Server)
			told = ""
			err = b.serveFirmware(ctx, on)
		}
		if ctx.Err() != nil {
			return nil
		}
		if why := fmt.Sprint(err); why != told {
			b.Log.Error("boards and PCs cannot begin to boot from here; it is tried again every minute", "network", b.Net, "err", err)
			told = why
		}
		if pause.For(ctx, beginAgain) != nil {
			return nil
		}
	}
}

// serveFirmware serves addresses and loaders until ctx ends, or one of them fails.
func (b *boards) serveFirmware(ctx context.Context, on BoardNetwork) error {
	files, err := on.ListenUDP(portTFTP)
	if err != nil {
		return unopened(portTFTP, err)
	}
	defer files.Close()
	addresses, err := on.ListenBroadcast(PortDHCP)
	if err != nil {
		return unopened(PortDHCP, err)
	}
	defer addresses.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return (&dhcp.Server{Hosts: b, Log: b.Log}).Serve(ctx, addresses) })
	g.Go(func() error { return (&tftp.Server{Files: b, Dial: on.DialUDP, Log: b.Log}).Serve(ctx, files) })
	return g.Wait()
}

// CheckBoards returns what keeps this process from serving boards and PCs on a network.
func CheckBoards(ctx context.Context, on BoardNetwork, mac net.HardwareAddr) error {
	var errs []error
	for _, port := range []uint16{PortHTTP, PortNFS, PortAgent} {
		l, err := on.Listen(port)
		if err == nil {
			err = l.Close()
		}
		errs = append(errs, unopened(port, err))
	}
	for port, open := range map[uint16]func(uint16) (net.PacketConn, error){portTFTP: on.ListenUDP, PortDHCP: on.ListenBroadcast} {
		c, err := open(port)
		if err == nil {
			err = c.Close()
		}
		errs = append(errs, unopened(port, err))
	}
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	return alone(ctx, on, mac)
}

// unopened is why a port of the server cannot be opened, in words for who runs it.
func unopened(port uint16, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fault.Failedf("boards and PCs cannot be served: this process may not open port %d", port).
			WithHint("run it as root, or with the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW")
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.Failedf("boards and PCs cannot be served: another program has port %d", port)
	case err != nil:
		return fmt.Errorf("serve boards and PCs on port %d: %w", port, err)
	}
	return nil
}

// alone returns a fault when another server gives addresses on a network: two of them would
// each give away what the other one has.
func alone(ctx context.Context, on Network, mac net.HardwareAddr) error {
	conn, err := on.ListenBroadcast(portDHCPClient)
	if err != nil {
		return unopened(portDHCPClient, err)
	}
	defer conn.Close()
	others, err := dhcp.Others(ctx, conn, mac)
	if err == nil && len(others) > 0 {
		err = fault.Failedf("another DHCP server answers there: %v", others)
	}
	return err
}

// resume goes on with the boots of devices that run since before the server started.
func (b *boards) resume(ctx context.Context) error {
	type known struct {
		mac ethernet.MAC
		ip  netip.Addr
	}
	all, err := state.Read(ctx, b.Store, func(r state.Reader) (all []known, err error) {
		for e, err := range leases.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			if b.Net.Contains(e.Value) {
				all = append(all, known{ethernet.MAC(e.Key), e.Value})
			}
		}
		return all, nil
	})
	if err != nil {
		return err
	}
	for _, k := range all {
		b.holders[k.ip] = k.mac
		d, here, err := b.devices.Device(ctx, k.mac)
		if err == nil && here && d.Kind == nodes.Node {
			_, err = b.Resume(ctx, b.machine(d, k.ip))
		}
		if err != nil {
			b.Log.Error("go on with a node that boots over the network", "node", d.Name, "err", err)
		}
	}
	return nil
}

// machine is a node as who boots.
func (b *boards) machine(d nodes.Device, ip netip.Addr) Machine {
	m := Machine{Name: d.Name, MAC: d.MAC, Model: d.Model, IP: ip, Server: b.Segment.Server, Net: b.Net, Router: b.Router, DNS: b.DNS, Params: boardParams, Settings: d.Settings}
	m.Settings.Loader = nodes.PXE // it comes with nothing
	return m
}

// Host implements dhcp.Hosts: who asks is a device of the lab from then on.
func (b *boards) Host(ctx context.Context, c dhcp.Client) (dhcp.Host, bool) {
	ctx, cancel := context.WithTimeout(ctx, meetLimit)
	defer cancel()
	d, err := b.devices.Met(ctx, nodes.Arrival{MAC: c.MAC, Model: modelOf(c), Host: c.Name})
	if err == nil && d.Virtual() {
		err = fault.Failedf("it has the MAC address of %s, which runs on the server", d.Name)
	}
	var ip netip.Addr
	if err == nil {
		ip, err = b.lease(ctx, c.MAC, b.Segment)
	}
	if err != nil {
		b.complain(netip.Addr{}, "a device gets no address", "mac", c.MAC, "err", err)
		return dhcp.Host{}, false
	}
	b.mu.Lock()
	b.holders[ip] = c.MAC
	b.mu.Unlock()
	return dhcp.Host{
		Name: string(d.Name), IP: ip, Net: b.Net, Server: b.Segment.Server, Router: b.Router, DNS: b.DNS,
		Script: fmt.Sprintf("http://%s/ipxe", netip.AddrPortFrom(b.Segment.Server, PortHTTP)), Loader: loaderFor(c),
	}, true
}

// script sends a device what iPXE is to do there: to boot what the node is to boot now,
// or to ask again.
func (b *boards) script(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return
	}
	ip := from.Addr().Unmap()
	b.mu.Lock()
	mac, known := b.holders[ip]
	b.mu.Unlock()
	var d nodes.Device
	if known {
		d, known, err = b.devices.Device(r.Context(), mac)
	}
	switch {
	case err != nil:
		b.again(w, waits, "the server failed to look what it is")
		b.Log.Error("look what a device is", "mac", mac, "err", err)
	case !known:
		b.refuse(w, r)
	case d.Model == "":
		b.again(w, waits, fmt.Sprintf("its model is not known, tell it: device add %s --mac %s --model MODEL", d.Name, d.MAC))
	case d.Kind != nodes.Node:
		b.again(w, waits, fmt.Sprintf("the default image of %s is not here yet", d.Model))
	case !b.enter(ip):
		b.again(w, waits, "its boot is being prepared")
	default:
		defer b.leave(ip)
		b.boot(w, r, b.machine(d, ip))
	}
}

// boot prepares a boot, and sends the script that begins it.
func (b *boards) boot(w http.ResponseWriter, r *http.Request, m Machine) {
	ctx := context.WithoutCancel(r.Context()) // what is begun is made, whoever waits for it
	if _, err := b.Prepare(ctx, m); err != nil {
		b.Lab.Failed(m.Name, err)
		why := "internal error"
		if f := fault.As(err); f != nil {
			why = f.Msg
		}
		b.again(w, failed, why)
		return
	}
	if made := b.bootOf(m.Name); made != nil {
		made.sendScript(w)
	}
}

// enter begins to prepare the boot of the device at an address, unless that goes on already.
func (b *boards) enter(ip netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[ip] {
		return false
	}
	b.busy[ip] = true
	return true
}

func (b *boards) leave(ip netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, ip)
}

// again sends a script that shows why the device does not boot, and asks again after
// some seconds.
func (b *boards) again(w http.ResponseWriter, seconds int, why string) {
	w.Header().Set("Content-Type", "text/plain")
	// An error means that the device is gone, or asks again.
	_, _ = fmt.Fprintf(w, "#!ipxe\necho walt: %s; it asks again every %d s\nsleep %d\nchain --replace --autofree http://%s/ipxe\n",
		shown(why), seconds, seconds, netip.AddrPortFrom(b.Segment.Server, PortHTTP))
}

// shown is a text that iPXE shows as it is: nothing in it is a word of its language.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,:;=/()-_", r) {
			return r
		}
		return ' '
	}, s)
	return strings.Join(strings.Fields(s[:min(len(s), reasonLimit)]), " ")
}
