package boards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"walt/ethernet"
	"walt/images"
	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// loaders are iPXE for the architectures of firmware that ask for it: BIOS, UEFI, and UEFI
// that loads by HTTP. They use the drivers of that firmware: those of iPXE itself hang on
// some boards.
var loaders = map[uint16]string{0: "undionly.kpxe", 7: "snponly.efi", 9: "snponly.efi", 16: "snponly.efi"}

// filesOf are the files of loaders, each once.
func filesOf(all ...map[uint16]string) (names []string) {
	for _, some := range all {
		names = slices.AppendSeq(names, maps.Values(some))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// LackingLoaders are the files for firmware of PCs that are not in a directory.
func LackingLoaders(dir string) (lacking []string) {
	for _, name := range filesOf(loaders) {
		if i, err := os.Stat(filepath.Join(dir, name)); err != nil || !i.Mode().IsRegular() {
			lacking = append(lacking, name)
		}
	}
	return lacking
}

// ownDrivers are iPXE with drivers of its own, where those of the firmware do not serve.
var ownDrivers = map[uint16]string{0: "ipxe.pxe", 7: "ipxe.efi", 9: "ipxe.efi", 16: "ipxe.efi"}

// mostSilent is how often in a row a loader may be taken and never heard of before the
// other one is tried.
const mostSilent = 2

// drivers are the loaders for a device: those with its firmware's drivers, unless it is set
// to others, or they were taken again and again and never heard of. Then it is the turn of
// those that are signed, where there are any, and of those with drivers of their own.
func (b *boards) drivers(ctx context.Context, c dhcp.Client, d nodes.Device) map[uint16]string {
	b.mu.Lock()
	turn := b.silent[d.MAC] / mostSilent
	b.mu.Unlock()
	set := d.Settings().Loader
	maySign := loaderFor(c, signed) != ""
	switch {
	case set == nodes.IPXE:
		return ownDrivers
	case set == nodes.Signed && maySign:
		return signed
	case turn == 0:
		return loaders
	}
	turns := []map[uint16]string{loaders, signed, ownDrivers}
	if !maySign || !b.hasSigned(ctx, d) {
		turns = []map[uint16]string{loaders, ownDrivers}
	}
	return turns[turn%len(turns)]
}

// loaderFor is the loader of a client among some, "" when it does not look for one of them.
func loaderFor(c dhcp.Client, loaders map[uint16]string) string {
	if isUBoot(c) {
		return ubootScript
	}
	if !strings.HasPrefix(c.Class, "PXEClient") && !loadsByHTTP(c) || isROM(c) {
		return ""
	}
	for _, a := range c.Arch {
		if name := loaders[a]; name != "" {
			return name
		}
	}
	return ""
}

// loadsByHTTP reports whether the firmware of a client asks for its loader by HTTP.
func loadsByHTTP(c dhcp.Client) bool { return strings.HasPrefix(c.Class, dhcp.HTTPClient) }

// loaderURL is where that finds one.
func (b *boards) loaderURL(name string) string {
	return fmt.Sprintf("http://%s/loader/%s", netip.AddrPortFrom(b.Segment.Server, netboot.PortHTTP), name)
}

// sendLoader sends such firmware iPXE. It asks for the size first.
func (b *boards) sendLoader(w http.ResponseWriter, r *http.Request, name string) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return
	}
	f, err := told{b, "HTTP"}.Open(from.Addr().Unmap(), name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	err = netboot.SendFile(w, r, "application/efi", io.NewSectionReader(f, 0, f.Size), func(bytes int64, took time.Duration) {
		if r.Method == http.MethodGet {
			f.Sent(bytes, took)
		}
	})
	if err != nil {
		b.Log.Error("send a loader", "to", from, "err", err)
	}
}

// Open implements tftp.Files: there are loaders, what U-Boot asks for, and what ROMs of
// boards do, for devices that have an address.
func (b *boards) Open(client netip.Addr, name string) (tftp.File, error) {
	mac, known := b.holder(client)
	if !known {
		return tftp.File{}, fmt.Errorf("%s %w", client, errNobody)
	}
	name = strings.TrimPrefix(name, "/")
	for _, find := range []func(netip.Addr, ethernet.MAC, string) (tftp.File, error){b.loaderFile, b.signedFile, b.ubootFile, b.raspberryFile} {
		if f, err := find(client, mac, name); !errors.Is(err, errOthers) {
			return f, err
		}
	}
	return tftp.File{}, fs.ErrNotExist
}

// errNobody says that who asks for a file is no device.
var errNobody = errors.New("is the address of no device")

// errOthers says that a file is none of those that are looked for in one place: perhaps it
// is in another one.
var errOthers = errors.New("there is no such file here")

// loaderFile is iPXE.
func (b *boards) loaderFile(client netip.Addr, _ ethernet.MAC, name string) (tftp.File, error) {
	if !slices.Contains(filesOf(loaders, ownDrivers), name) {
		return tftp.File{}, errOthers
	}
	f, err := os.Open(filepath.Join(b.Loaders, name))
	if err != nil {
		b.Boots.Complain(client, "a device gets no loader: install the distribution's package ipxe, or name another directory in [network] loaders", "err", err)
		return tftp.File{}, err
	}
	return whole(f)
}

// bootFile is one of the files that a boot starts with.
func (b *boards) bootFile(ctx context.Context, made *netboot.Fetched, open func(context.Context) (*os.File, error)) (tftp.File, error) {
	f, err := open(ctx)
	if err != nil {
		b.Boots.Complain(made.IP, "send what a machine starts with", "node", made.Name, "err", err)
		return tftp.File{}, err
	}
	return whole(f)
}

// whole is all that a file has; closing it closes that.
func whole(f *os.File) (tftp.File, error) {
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

// pc is the model of these.
const pc images.Model = "pc-x86-64"

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
	if isROM(c) {
		return romModel(c)
	}
	if !isRaspberry(c.MAC) && slices.ContainsFunc(c.Arch, func(a uint16) bool { return slices.Contains(pcs, a) }) {
		return pc
	}
	return ""
}

// archsOf are the kinds of machines that firmware tells, by IANA's list of its
// architectures.
var archsOf = map[nodes.Arch][]uint16{
	nodes.X86:   {0, 6, 7, 9, 15, 16, 20},
	nodes.ARM:   {10, 18, 21, 23},
	nodes.ARM64: {11, 19, 22, 24},
	nodes.RISCV: {27, 28},
}

// archOf is the kind of machine that the firmware of a client is for, "" when it does not
// tell: ROMs of Raspberry Pis say that they are PCs.
func archOf(c dhcp.Client) nodes.Arch {
	if isROM(c) || isRaspberry(c.MAC) {
		return ""
	}
	for arch, all := range archsOf {
		if slices.ContainsFunc(c.Arch, func(a uint16) bool { return slices.Contains(all, a) }) {
			return arch
		}
	}
	return ""
}
