package netboot

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/images"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
)

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
	if _, known := b.holder(client); !known {
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

// pc is the model of these.
const pc images.Model = "pc-x86-64"

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
		return pc
	}
	return ""
}
