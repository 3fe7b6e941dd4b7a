package boards

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"walt/ethernet"
	"walt/images"
	"walt/netboot/dhcp"
	"walt/nodes"
)

// The firmware of Raspberry Pis that looks for something to boot over the network: the ROM
// of boards up to 3+, with the bootcode.bin that it loads, and what is in the EEPROM of
// later ones. It is called their ROM here. See
// https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#network-booting

// raspberries are what MAC addresses of Raspberry Pi boards begin with. Their firmware
// says that it is that of a PC.
var raspberries = []string{firstRaspberries, "dc:a6:32:", "e4:5f:01:", "d8:3a:dd:", "2c:cf:67:", "28:cd:c1:", "88:a2:9e:"}

// firstRaspberries is what those of boards up to 3+ begin with: serial numbers follow it.
const firstRaspberries = "b8:27:eb:"

func isRaspberry(mac ethernet.MAC) bool {
	return slices.ContainsFunc(raspberries, func(prefix string) bool { return strings.HasPrefix(string(mac), prefix) })
}

// isROM reports whether a client is the ROM of a Raspberry Pi, rather than iPXE, U-Boot or
// UEFI on such a board, or its operating system.
func isROM(c dhcp.Client) bool {
	return strings.HasPrefix(c.Class, "PXEClient:Arch:00000:") && !slices.Contains(c.Users, "iPXE") && (isRaspberry(c.MAC) || generation(c.GUID) != 0)
}

// generation is that of a board whose EEPROM tells it, 0 when it does not. Their GUIDs
// begin with "RPi4" or "RPi5", as a number in either order of bytes, unless somebody
// configured them otherwise.
func generation(guid []byte) int {
	if len(guid) < 4 {
		return 0
	}
	for _, n := range []uint32{binary.LittleEndian.Uint32(guid), binary.BigEndian.Uint32(guid)} {
		if n&0x00ffffff == 0x00695052 && n>>24 >= '4' && n>>24 <= '9' {
			return int(n>>24 - '0')
		}
	}
	return 0
}

// Models that boards have until they tell better: boards that boot alike boot the same
// images.
const (
	model3     images.Model = "rpi-3-b"
	model3Plus images.Model = "rpi-3-b-plus"
	model4     images.Model = "rpi-4-b"
	model5     images.Model = "rpi-5-b"
)

// romModel is the model of a board as its ROM tells when it asks for an address, "" when
// that does not say enough. The GUID of the ROM of a 3 is always the same; that of a 3+ is
// its serial number four times, as is that of an EEPROM of before 2020.
func romModel(c dhcp.Client) images.Model {
	switch generation(c.GUID) {
	case 4:
		return model4
	case 5:
		return model5
	}
	first := c.GUID[:min(4, len(c.GUID))]
	switch {
	case !strings.HasPrefix(string(c.MAC), firstRaspberries) || len(c.GUID) != 16 || string(c.GUID) != strings.Repeat(string(first), 4):
		return ""
	case string(first) == "DDDD":
		return model3
	}
	return model3Plus
}

// fileModel is the model of a board whose ROM asks for a file, "" when others ask for that,
// too.
func fileModel(name string) images.Model {
	switch base := path.Base(name); {
	case base == "bootcode.bin", base == "start.elf":
		return model3
	case base == "start4.elf":
		return model4
	case strings.HasPrefix(base, "kernel_2712"), strings.HasPrefix(base, "bcm2712"):
		return model5
	}
	return ""
}

// isLater reports whether boards of a model have an EEPROM, as those after the model 3+.
func isLater(m images.Model) bool {
	return m != "" && !slices.ContainsFunc([]string{"rpi-1", "rpi-2", "rpi-3"}, func(p string) bool { return strings.HasPrefix(string(m), p) })
}

// defaultReplyDelay is for boards of the models up to 3+, whose ROMs miss what comes sooner.
const defaultReplyDelay = time.Second

// replyDelay is how long a board waits for the offer of its address.
func replyDelay(c dhcp.Client, d nodes.Device) time.Duration {
	switch {
	case d.Settings().ReplyDelay != nil:
		return *d.Settings().ReplyDelay
	case generation(c.GUID) != 0, isLater(d.Model):
		return 0
	}
	return defaultReplyDelay
}

// rom is what the ROM of a board does.
type rom struct {
	asked int  // for its address, since it last asked for a file
	fresh bool // it did that since its last boot was prepared
	begun bool // that is being prepared

	files  int       // how many it asked for
	loaded bool      // it has its kernel
	late   time.Time // when it has stopped, unless it does something until then; zero: it need not
	why    string    // is what it did then, in words
}

// bootText is what ROMs look for in an answer. Some of the boards of the model 3 want more
// of it, spaces, and some others may not.
const bootText, moreText = "Raspberry Pi Boot", "   "

// menuFor notes that the ROM of a board asks for its address, and returns the words that it
// is to find in the answer. One that asks again since it did not find them gets others.
func (b *boards) menuFor(c dhcp.Client) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rom(c.MAC)
	if c.Discovers {
		r.hasAsked(b.Now())
		if b.DHCP != Full { // another server may give it another address
			maps.DeleteFunc(b.holders, func(_ netip.Addr, mac ethernet.MAC) bool { return mac == c.MAC })
		}
	}
	if r.asked > 0 && r.asked%2 == 0 {
		return bootText + moreText
	}
	return bootText
}

// rom is what the ROM of a board does. b is locked.
func (b *boards) rom(mac ethernet.MAC) *rom {
	r := b.roms[mac]
	if r == nil {
		r = &rom{}
		b.roms[mac] = r
	}
	return r
}

// romAt is the board that has an address, "" when that is not one of which is known that
// it has it.
func (b *boards) romAt(ip netip.Addr) ethernet.MAC {
	b.mu.Lock()
	defer b.mu.Unlock()
	mac := b.holders[ip]
	if b.roms[mac] == nil && !isRaspberry(mac) {
		return ""
	}
	return mac
}

// direct is the MAC address that what is sent to a board goes to, without asking who has
// its IP address; nil when it is asked. ROMs do not answer that.
func (b *boards) direct(ip netip.Addr) net.HardwareAddr {
	hw, _ := net.ParseMAC(string(b.romAt(ip))) // nil when there is none
	return hw
}

// romAsks notes that the ROM of a board asks for a file, and returns what it does; nil, if
// that is none of them.
func (b *boards) romAsks(mac ethernet.MAC) *rom {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !isRaspberry(mac) && b.roms[mac] == nil {
		return nil
	}
	r := b.rom(mac)
	r.asked, r.late = 0, time.Time{}
	return r
}
