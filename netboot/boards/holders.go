package boards

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/netboot"
	"walt/nodes"
)

// archParam is what iPXE tells with it, where nobody told the server before what it is.
const archParam = "arch"

// holds notes that the server gave a device an address.
func (b *boards) holds(ip netip.Addr, mac ethernet.MAC) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holders[ip] = mac
}

// holder returns who has an address of the segment: who got it from the server, or, where
// that gives none, whom the host sees there.
func (b *boards) holder(ip netip.Addr) (mac ethernet.MAC, known bool) {
	if b.DHCP == Full {
		b.mu.Lock()
		defer b.mu.Unlock()
		mac, known = b.holders[ip]
		return mac, known
	}
	if mac := b.romAt(ip); mac != "" || !b.Net.Contains(ip) {
		return mac, mac != ""
	}
	mac, err := ethernet.ParseMAC(b.on.Neighbour(ip).String())
	if err == nil && isRaspberry(mac) { // it may answer no more
		b.holds(ip, mac)
	}
	return mac, err == nil
}

// comes returns the device that asks what to boot, false when there is none. Where the
// server gives no addresses, this may be the first that it hears of it.
func (b *boards) comes(r *http.Request, mac ethernet.MAC) (nodes.Device, bool, error) {
	d, here, err := b.Lab.Device(r.Context(), mac)
	if err != nil || b.DHCP == Full || here && d.Model != "" {
		return d, here && !d.Virtual(), err
	}
	told := r.URL.Query()
	if !told.Has(archParam) {
		return d, true, nil // which it is asked first
	}
	d, err = b.Lab.Met(r.Context(), nodes.Arrival{MAC: mac, Model: modelOfArch(told.Get(archParam))})
	if fault.As(err) != nil { // there are too many
		b.Boots.Complain(netip.Addr{}, "a device stays out", "mac", mac, "err", err)
		return d, false, nil
	}
	return d, err == nil, err
}

// modelOfArch is the model of a device by what iPXE was built for, "" when that is open.
func modelOfArch(arch string) images.Model {
	if arch == "i386" || arch == "x86_64" { // the former starts PCs of 64 bits, too
		return pc
	}
	return ""
}

// askArch sends a script that asks again, and tells what iPXE was built for.
func (b *boards) askArch(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprintf(w, "#!ipxe\nchain --replace --autofree %s?%s=${buildarch} ||\n%s", b.scriptURL(), archParam, b.retry(waits, "it is not answered")) // or the device is gone
}

// scriptURL is where iPXE finds what it is to do.
func (b *boards) scriptURL() string {
	return fmt.Sprintf("http://%s/ipxe", netip.AddrPortFrom(b.Segment.Server, netboot.PortHTTP))
}

// resume goes on with the boots of devices that run since before the server started.
func (b *boards) resume(ctx context.Context) error {
	addresses := b.Boots.Booted
	if b.DHCP == Full {
		addresses = b.Boots.Leases
	}
	all, err := addresses(ctx)
	if err != nil {
		return err
	}
	for mac, ip := range all {
		if !b.Net.Contains(ip) {
			continue
		}
		b.holds(ip, mac)
		d, here, err := b.Lab.Device(ctx, mac)
		if err == nil && here && d.Kind == nodes.Node && !d.Virtual() { // whose host does that
			_, err = b.Boots.Resume(ctx, b.machine(d, ip))
		}
		if err != nil {
			b.Log.Error("go on with a node that boots over the network", "node", d.Name, "err", err)
		}
	}
	return nil
}
