package boards

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/nodes"
)

const (
	// boardParams are of the kernel of boards and PCs: they start anew by themselves after a
	// panic.
	boardParams = "panic=10"
	// meetLimit is how long the lab may take to say what a device is.
	meetLimit = 5 * time.Second
	// waits and failed are for how long, in seconds, a board sleeps before it asks again:
	// while it cannot boot yet, and after it could not.
	waits, failed = 5, 30
	// reasonLimit is how many characters of why it does not boot it shows.
	reasonLimit = 200
)

// preparing and runs are why a board that asks again does not boot yet. Of one that runs somebody
// asks who is not its firmware: a program on it, or another device in its name. Only for ten
// seconds it may be firmware of which no other question was heard.
const preparing, runs = "its boot is being prepared", "the system that it booted still runs"

// boards are the devices of a segment. They start when somebody switches them on, and
// then ask what they are to do; who they are is known by their addresses.
type boards struct {
	*Server
	Segment
	on  Network
	mac net.HardwareAddr // of this host on it

	named atomic.Bool       // that it answers what devices ask about names
	begun *latest[struct{}] // whether devices can begin to boot

	mu      sync.Mutex
	holders map[netip.Addr]ethernet.MAC // of addresses that the server gave
	busy    map[netip.Addr]bool         // whose boots are being prepared
	roms    map[ethernet.MAC]*rom       // of Raspberry Pis
	foreign map[netip.Addr]*foreigner   // other servers of DHCP that were heard
	look    chan netip.Addr             // one that may be there
	loaded  map[ethernet.MAC]bool       // that have a loader since they last asked for an address
	ran     map[ethernet.MAC]bool       // those of them whose loaders were heard of
	silent  map[ethernet.MAC]int        // how often in a row they took one that was not heard of
}

// machine is a node as who boots.
func (b *boards) machine(d nodes.Device, ip netip.Addr) netboot.Machine {
	m := b.place(ip)
	m.Leased = b.DHCP != Full
	m.Name, m.MAC, m.Model, m.Params, m.Settings = d.Name, d.MAC, d.Model, boardParams, d.Settings()
	m.Settings.Loader = nodes.PXE // it comes with nothing
	return m
}

// place is what somebody with an address reaches from there.
func (b *boards) place(ip netip.Addr) netboot.Machine {
	return netboot.Machine{IP: ip, Server: b.Segment.Server, Net: b.Net, Router: b.Router, DNS: b.dns(), Domain: b.Domain}
}

// Host implements dhcp.Hosts: who asks is a device of the lab from then on.
func (b *boards) Host(ctx context.Context, c dhcp.Client) (dhcp.Host, bool) {
	if string(c.MAC) == b.mac.String() {
		return dhcp.Host{}, false // it looks for other servers
	}
	if c.Class != "" && len(c.Arch) > 0 {
		b.Boots.FirmwareAsks(c.MAC)
	}
	ctx, cancel := context.WithTimeout(ctx, meetLimit)
	defer cancel()
	d, err := b.Lab.Met(ctx, nodes.Arrival{MAC: c.MAC, Model: modelOf(c), Arch: archOf(c), Host: c.Name})
	if err == nil && d.Virtual() {
		if h, runs := b.Boots.Host(ctx, c); runs && b.Net.Contains(h.IP) {
			h.Time, h.DNS = b.Segment.Server, b.dns()
			return h, true
		}
		err = fault.Failedf("it has the MAC address of %s, which runs on the server", d.Name)
	}
	var ip netip.Addr
	if err == nil && b.DHCP == Full {
		if ip, err = b.Boots.Lease(ctx, c.MAC, b.pool()); err == nil {
			b.holds(ip, c.MAC)
		}
	}
	if err != nil {
		b.Boots.Complain(netip.Addr{}, "a device that asks for its address is not answered", "mac", c.MAC, "err", err)
		return dhcp.Host{}, false
	}
	b.asked(ctx, c, d)
	h := dhcp.Host{
		Name: string(d.Name), IP: ip, Net: b.Net, Server: b.Segment.Server, Router: b.Router, DNS: b.dns(), Domain: b.Domain, Time: b.Segment.Server,
		Script: b.scriptURL(), Loader: loaderFor(c, b.drivers(ctx, c, d)),
	}
	if h.Loader != "" && loadsByHTTP(c) {
		h.Loader = b.loaderURL(h.Loader)
	}
	if isROM(c) {
		h.Menu, h.Delay = b.menuFor(c), replyDelay(c, d)
	}
	return h, true
}

// script sends a device what iPXE is to do there: to boot what the node is to boot now,
// or to ask again.
func (b *boards) script(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return
	}
	ip := from.Addr().Unmap()
	mac, known := b.holder(ip)
	var d nodes.Device
	if known {
		d, known, err = b.comes(r, mac)
	}
	if known && d.Kind != nodes.Node {
		b.Lab.Reached(r.Context(), d.Name, nodes.StepChained)
	}
	switch {
	case err != nil:
		b.again(w, waits, "the server failed to look what it is")
		b.Log.Error("look what a device is", "mac", mac, "err", err)
	case !known:
		b.Boots.Refuse(w, r)
	case d.Model == "" && b.DHCP != Full && !r.URL.Query().Has(archParam):
		b.askArch(w)
	default:
		made, why, seconds := b.next(context.WithoutCancel(r.Context()), d, ip) // what is begun is made, whoever waits for it
		if made == nil {
			b.again(w, seconds, why)
			return
		}
		b.sendScript(w, made)
	}
}

// sendScript sends iPXE the script of a boot. What the server fails to send, as it was
// started anew meanwhile, is asked for again: many a firmware gives up for good.
func (b *boards) sendScript(w http.ResponseWriter, made *netboot.Fetched) {
	w.Header().Set("Content-Type", "text/plain")
	// An error means that the device is gone, or asks again.
	_, _ = io.WriteString(w, "#!ipxe\n"+made.Script(" || goto walt")+b.retry(waits, "it did not boot"))
}

// next prepares what a device at an address boots now; nil: it cannot yet, for that reason,
// and is to ask again after some seconds.
func (b *boards) next(ctx context.Context, d nodes.Device, ip netip.Addr) (made *netboot.Fetched, why string, seconds int) {
	switch {
	case d.Model == "":
		return nil, fmt.Sprintf("its model is not known, tell it: device config %s model=MODEL", d.Name), waits
	case d.Kind != nodes.Node:
		return nil, fmt.Sprintf("the default image of %s is not here yet", d.Model), waits
	case b.Boots.Runs(d.MAC, ip):
		return nil, runs, waits
	case !b.enter(ip):
		return nil, preparing, waits
	}
	defer b.leave(ip)
	if _, err := b.Boots.Prepare(ctx, b.machine(d, ip)); err != nil {
		b.Lab.Failed(d.Name, err)
		return nil, fault.Reason(err), failed
	}
	if made = b.Boots.Fetched(d.MAC); made != nil {
		return made, "", 0
	}
	return nil, "its boot was given up", waits // it was removed meanwhile
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
	_, _ = io.WriteString(w, "#!ipxe\n"+b.retry(seconds, why))
}

// retry is the end of scripts of iPXE: it shows why a device does not boot, and asks again
// after some seconds. One that is not answered then looks for its address once more, and goes
// on asking: the server may be away, and the port of a switch pass nothing.
func (b *boards) retry(seconds int, why string) string {
	return fmt.Sprintf(":walt\nimgfree\necho walt: %s; it asks again every %d s\nsleep %d\nchain --replace --autofree %s ||\ndhcp ||\ngoto walt\n",
		shown(why), seconds, seconds, b.scriptURL())
}

// shown is a text that loaders show as it is: nothing in it is a word of their languages.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,:;=/()-_", r) {
			return r
		}
		return ' '
	}, s)
	return strings.Join(strings.Fields(s[:min(len(s), reasonLimit)]), " ")
}
