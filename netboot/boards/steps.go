package boards

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// asked tells the lab of a device that asks for its address.
func (b *boards) asked(ctx context.Context, c dhcp.Client, d nodes.Device) {
	switch {
	case !c.Boots():
		if !b.Boots.Connected(c.MAC) {
			b.Lab.Strayed(ctx, d.Name)
		}
	case slices.Contains(c.Users, "iPXE") && b.isLoaded(c.MAC): // what it loaded runs
		b.heard(c.MAC)
		b.Lab.Reached(ctx, d.Name, nodes.StepChained)
	default:
		b.setLoaded(c.MAC, false)
		b.Lab.Reached(ctx, d.Name, nodes.StepAddress)
	}
}

func (b *boards) isLoaded(mac ethernet.MAC) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loaded[mac]
}

// heard notes that the loader runs which a device took.
func (b *boards) heard(mac ethernet.MAC) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, is := b.silent[mac]; is && !b.ran[mac] {
		b.ran[mac] = true
		if b.silent[mac] = (n - 1) / mostSilent * mostSilent; b.silent[mac] == 0 { // that loader serves
			delete(b.silent, mac)
		}
	}
}

// setLoaded notes whether a device has got a loader since its firmware asked for an address.
// One that took it is silent until it is heard of.
func (b *boards) setLoaded(mac ethernet.MAC, is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if is && !b.loaded[mac] {
		b.silent[mac]++
	}
	if b.loaded[mac] = is; !is {
		delete(b.loaded, mac)
		delete(b.ran, mac)
	}
}

// Called implements netboot.Site.
func (b *boards) Called(ctx context.Context, ip netip.Addr) (nodes.Name, bool) {
	mac, known := b.holder(ip)
	if !known {
		return "", false
	}
	d, here, err := b.Lab.Device(ctx, mac)
	return d.Name, here && err == nil
}

// told are the files that devices ask for in a way, TFTP or HTTP, while the lab is told of
// them.
type told struct {
	*boards
	way string
}

// Open implements tftp.Files.
func (t told) Open(client netip.Addr, name string) (tftp.File, error) {
	ctx := context.Background() // nobody waits for it
	asked := t.way + " " + name
	if rest, is := strings.CutPrefix(strings.TrimPrefix(name, "/"), ubootDir); is { // what follows is a secret
		_, part, _ := strings.Cut(rest, "/")
		asked = t.way + " " + ubootDir + ".../" + part
	}
	f, err := t.boards.Open(client, name)
	if errors.Is(err, tftp.ErrLater) { // it asks again
		return f, err
	}
	if err != nil {
		who := client
		if errors.Is(err, errNobody) { // which may be anybody, who sends in the name of many
			who = netip.Addr{}
		} else {
			t.refused(ctx, client, asked, reason(err))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Boots.Complain(who, "a device does not get a file", "file", asked, "err", err)
		}
		return f, err
	}
	mac, _ := t.holder(client) // it has one, or it got nothing
	f.Refused = func(why string) { t.refused(ctx, client, asked, why) }
	f.Sent = func(bytes int64, took time.Duration) {
		n, here := t.Called(ctx, client)
		if !here {
			return
		}
		step := stepOf(name)
		t.Lab.Sent(ctx, n, step, bytes, took)
		if bytes < f.Size || step == nodes.StepInitramfs { // which is reached when it runs
			return
		}
		if step == nodes.StepLoader || step == nodes.StepEFI {
			t.setLoaded(mac, true)
		}
		t.Lab.Reached(ctx, n, step)
	}
	return f, nil
}

// refused tells the lab of a file that the device at an address does not get.
func (b *boards) refused(ctx context.Context, from netip.Addr, file, why string) {
	if n, here := b.Called(ctx, from); here {
		b.Lab.Refused(ctx, n, file, why)
	}
}

// stepOf is the step that a file is for, by its name.
func stepOf(name string) nodes.Step {
	begins := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(strings.TrimPrefix(path.Base(name), "walt-"), w) })
	}
	switch {
	case begins("kernel", "vmlinu", "Image", "zImage", "uImage"):
		return nodes.StepKernel
	case begins("initr"):
		return nodes.StepInitramfs
	case strings.HasSuffix(name, ".efi"):
		return nodes.StepEFI
	}
	return nodes.StepLoader
}

// reason is why a file is refused, in words for users.
func reason(err error) string {
	if fault.As(err) != nil {
		return fault.Line(err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no such file"
	}
	return "it is of another boot, or the server failed to read it"
}
