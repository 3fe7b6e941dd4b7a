package netboot

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/state"
)

const (
	// boardParams are of the kernel of boards and PCs: they show what they do on both, and
	// start anew by themselves after a panic.
	boardParams              = "console=ttyS0,115200 console=tty0 panic=10"
	portDHCPClient, portTFTP = 68, 69
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

// ServeBoards serves the devices of a segment, until ctx ends. It fails when another
// server gives addresses there: mac is who asks for that.
func (s *Server) ServeBoards(ctx context.Context, on BoardNetwork, segment Segment, mac net.HardwareAddr, devices Devices) error {
	if err := alone(ctx, on, mac); err != nil {
		return err
	}
	b := &boards{Server: s, Segment: segment, devices: devices, holders: map[netip.Addr]ethernet.MAC{}, busy: map[netip.Addr]bool{}}
	if err := b.resume(ctx); err != nil {
		return err
	}
	web := s.handlers()
	web.HandleFunc("GET /ipxe", b.script)
	files, err := on.ListenUDP(portTFTP)
	if err != nil {
		return fmt.Errorf("serve boards on port %d: %w", portTFTP, err)
	}
	defer files.Close()
	s.Log.Info("boards and PCs boot from here", "network", segment.Net, "address", segment.Server)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx, on, b, web) })
	g.Go(func() error { return (&tftp.Server{Files: b, Dial: on.DialUDP, Log: s.Log}).Serve(ctx, files) })
	return g.Wait()
}

// alone returns a fault when another server gives addresses on a network: two of them would
// each give away what the other one has.
func alone(ctx context.Context, on Network, mac net.HardwareAddr) error {
	conn, err := on.ListenBroadcast(portDHCPClient)
	if err != nil {
		return fmt.Errorf("look for other servers of DHCP: %w", err)
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
	m := Machine{Name: d.Name, MAC: d.MAC, IP: ip, Server: b.Segment.Server, Net: b.Net, Router: b.Router, DNS: b.DNS, Params: boardParams, Settings: d.Settings}
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

// loaders are iPXE for the architectures of firmware that ask for it by TFTP. They use the
// drivers of that firmware: those of iPXE itself hang on some boards.
var loaders = map[uint16]string{0: "undionly.kpxe", 7: "snponly.efi", 9: "snponly.efi"}

// loaderFor is the loader of a client, "" when it does not look for one that there is.
func loaderFor(c dhcp.Client) string {
	if !strings.HasPrefix(c.Class, "PXEClient") || isRaspberry(c.MAC) {
		return ""
	}
	for _, a := range c.Arch {
		if name := loaders[a]; name != "" {
			return name
		}
	}
	return ""
}

// Open implements tftp.Files: there are loaders, for devices that have an address.
func (b *boards) Open(client netip.Addr, name string) (tftp.File, error) {
	b.mu.Lock()
	_, known := b.holders[client]
	b.mu.Unlock()
	if !known {
		return tftp.File{}, fmt.Errorf("%s is the address of no device", client)
	}
	name = strings.TrimPrefix(name, "/")
	if !slices.Contains(slices.Collect(maps.Values(loaders)), name) {
		return tftp.File{}, fs.ErrNotExist
	}
	f, err := os.Open(filepath.Join(b.Loaders, name))
	if err != nil {
		b.Log.Error("a device gets no loader: install the distribution's package ipxe, or name another directory in [network] loaders", "to", client, "err", err)
		return tftp.File{}, err
	}
	i, err := f.Stat()
	if err != nil {
		f.Close()
		return tftp.File{}, err
	}
	return tftp.File{ReaderAt: f, Closer: f, Size: i.Size()}, nil
}

// pcs are the architectures of firmware, RFC 4578 and IANA's list, whose devices are PCs
// of 64 bits unless they are told otherwise: BIOS, UEFI, and UEFI over HTTP.
var pcs = []uint16{0, 7, 9, 16}

// raspberries are what MAC addresses of Raspberry Pi boards begin with. Their firmware
// says that it is that of a PC.
var raspberries = []string{"b8:27:eb:", "dc:a6:32:", "e4:5f:01:", "d8:3a:dd:", "2c:cf:67:", "28:cd:c1:"}

func isRaspberry(mac ethernet.MAC) bool {
	return slices.ContainsFunc(raspberries, func(prefix string) bool { return strings.HasPrefix(string(mac), prefix) })
}

// modelOf is the model of a device as it tells, or as its firmware does; "" when neither
// says enough.
func modelOf(c dhcp.Client) images.Model {
	for _, class := range append(slices.Clone(c.Users), c.Class) {
		if told, is := strings.CutPrefix(class, "walt.node."); is {
			if m, err := images.ParseModel(told); err == nil {
				return m
			}
		}
	}
	if !isRaspberry(c.MAC) && slices.ContainsFunc(c.Arch, func(a uint16) bool { return slices.Contains(pcs, a) }) {
		return "pc-x86-64"
	}
	return ""
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
