package netboot

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/nodes"
	"walt/state"
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
	d, here, err := b.devices.Device(r.Context(), mac)
	if err != nil || b.DHCP == Full || here && d.Model != "" {
		return d, here && !d.Virtual(), err
	}
	told := r.URL.Query()
	if !told.Has(archParam) {
		return d, true, nil // which it is asked first
	}
	d, err = b.devices.Met(r.Context(), nodes.Arrival{MAC: mac, Model: modelOfArch(told.Get(archParam))})
	if fault.As(err) != nil { // there are too many
		b.complain(netip.Addr{}, "a device stays out", "mac", mac, "err", err)
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
	return fmt.Sprintf("http://%s/ipxe", netip.AddrPortFrom(b.Segment.Server, PortHTTP))
}

// moves ends what is left of other boots where a machine boots now: its own at another
// address, and that of who had this address before.
func (b *boards) moves(ctx context.Context, m Machine) error {
	if own := b.bootBy(m.MAC); own != nil && own.machine.IP != m.IP {
		b.replace(own.machine.IP, nil)
	}
	b.Server.mu.Lock()
	other := b.boots[m.IP]
	b.Server.mu.Unlock()
	if other == nil || other.machine.MAC == m.MAC {
		return nil
	}
	_, err := b.Store.Update(ctx, func(tx state.Tx) error {
		r, found, err := records.Find(tx, string(other.machine.MAC))
		if err != nil || !found || r.ID != other.ID {
			return err
		}
		return records.Delete(tx, string(other.machine.MAC))
	})
	if err == nil {
		b.replace(m.IP, nil)
		b.Lab.Lost(other.node(), b.Now(), fmt.Sprintf("%s has its address", m.Name))
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
		if b.DHCP != Full {
			for e, err := range records.Scan(r, "", "") {
				if err != nil {
					return nil, err
				}
				all = append(all, known{ethernet.MAC(e.Key), e.Value.IP})
			}
			return all, nil
		}
		for e, err := range leases.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			all = append(all, known{ethernet.MAC(e.Key), e.Value})
		}
		return all, nil
	})
	if err != nil {
		return err
	}
	for _, k := range all {
		if !b.Net.Contains(k.ip) {
			continue
		}
		b.holds(k.ip, k.mac)
		d, here, err := b.devices.Device(ctx, k.mac)
		if err == nil && here && d.Kind == nodes.Node && !d.Virtual() { // whose host does that
			_, err = b.Resume(ctx, b.machine(d, k.ip))
		}
		if err != nil {
			b.Log.Error("go on with a node that boots over the network", "node", d.Name, "err", err)
		}
	}
	return nil
}
