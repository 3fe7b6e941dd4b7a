package machines

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// rom is what plays the ROM of a Raspberry Pi on a port of the bridge: it sends what that
// sends, answers no ARP, and takes any offer that it hears.
type rom struct {
	tap         *os.File
	mac, server net.HardwareAddr // server is known from the offer
	ip, at      net.IP           // its own, and the server's
	port        uint16           // that it asked for its last file from
	options     string           // of its requests for files
	block       int
	vlan        byte // that what it sends is tagged with; 0: it is not
}

// newROM plugs a board in.
func newROM(t *testing.T, name, mac string) *rom {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	r := &rom{tap: os.NewFile(uintptr(fd), name), mac: hw, port: 49152, block: 512}
	t.Cleanup(func() { r.tap.Close() })
	run(t, "ip", "link", "set", name, "master", "lab0", "up")
	return r
}

// send sends a datagram. Its sum is left out, as RFC 768 allows.
func (r *rom) send(to net.HardwareAddr, from, dst net.IP, sport, dport uint16, b []byte) error {
	put := binary.BigEndian.PutUint16
	p := make([]byte, 42, 42+len(b))
	copy(p, to)
	copy(p[6:], r.mac)
	p[12], p[14], p[22], p[23] = 8, 0x45, 64, 17
	put(p[16:], uint16(28+len(b)))
	copy(p[26:], from.To4())
	copy(p[30:], dst.To4())
	put(p[24:], ^sum(p[14:34]))
	put(p[34:], sport)
	put(p[36:], dport)
	put(p[38:], uint16(8+len(b)))
	p = append(p, b...)
	if r.vlan > 0 {
		p = slices.Insert(p, 12, 0x81, 0, 0, r.vlan)
	}
	_, err := r.tap.Write(p)
	return err
}

// sum is that of RFC 1071.
func sum(b []byte) uint16 {
	s := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// hear returns the next datagram to a port that comes until then, with its sender.
func (r *rom) hear(port uint16, until time.Time) (b []byte, from net.HardwareAddr, sport uint16, err error) {
	if err := r.tap.SetReadDeadline(until); err != nil {
		return nil, nil, 0, err
	}
	p := make([]byte, 2048)
	for {
		n, err := r.tap.Read(p)
		if err != nil {
			return nil, nil, 0, err
		}
		f := p[:n]
		if n < 42 || f[12] != 8 || f[13] != 0 || f[23] != 17 || binary.BigEndian.Uint16(f[36:]) != port {
			continue
		}
		udp := f[34:][:binary.BigEndian.Uint16(f[38:])]
		if s := sum(append(append([]byte{0, 17, f[38], f[39]}, f[26:34]...), udp...)); s != 0xffff {
			return nil, nil, 0, fmt.Errorf("a datagram with a wrong sum: % x", f)
		}
		return bytes.Clone(udp[8:]), bytes.Clone(f[6:12]), binary.BigEndian.Uint16(udp), nil
	}
}

// discover is what ROMs send that look for an address: 320 bytes with a transaction number
// that all boards of the model 3 have, and 16 bytes that say which machine it is.
func (r *rom) discover(guid string) error {
	text := "01010600" + "26f30339" + strings.Repeat("00000000", 5) + hex.EncodeToString(r.mac) + strings.Repeat("00", 10+64+128) +
		"63825363" + "350101" + "370c2b3c43808182838485868742" + "5d020000" + "5e03010201" +
		"611100" + hex.EncodeToString([]byte(guid)) + "3c20" + hex.EncodeToString([]byte("PXEClient:Arch:00000:UNDI:002001")) + "ff"
	b, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	b = append(b, make([]byte, 320-len(b))...)
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	return r.send(everybody, net.IPv4zero, net.IPv4bcast, 68, 67, b)
}

// address has it look for an address every five seconds, and take the first that it is
// offered as it knows offers.
func (r *rom) address(guid string) error {
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); {
		if err := r.discover(guid); err != nil {
			return err
		}
		b, from, _, err := r.hear(68, time.Now().Add(5*time.Second))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		options := hex.EncodeToString(b[240:])
		for _, want := range []string{"350102", "3c09" + hex.EncodeToString([]byte("PXEClient")), "611100" + hex.EncodeToString([]byte(guid)), hex.EncodeToString([]byte("Raspberry Pi Boot"))} {
			if !strings.Contains(options, want) {
				return fmt.Errorf("the offer has no %s: %s", want, options)
			}
		}
		if got := net.HardwareAddr(b[28:34]); got.String() != r.mac.String() {
			return fmt.Errorf("it hears what %s is offered", got)
		}
		r.ip, r.at, r.server = net.IP(b[16:20]), net.IP(b[20:24]), from
		return nil
	}
	return errors.New("it is offered no address")
}

// patience is how long it waits for a packet of a file before it asks again.
const patience = 2 * time.Second

// get asks for a file and returns what it holds, or why there is none. A probe gives up
// after the first block.
func (r *rom) get(name string, probe bool) (content []byte, why string, err error) {
	r.port++
	ask := []byte("\x00\x01" + name + "\x00octet\x00" + r.options)
	last, to := ask, uint16(69)
	block := uint16(1)
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); {
		if err := r.send(r.server, r.ip, r.at, r.port, to, last); err != nil {
			return nil, "", err
		}
		b, _, from, err := r.hear(r.port, time.Now().Add(patience))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		switch {
		case b[1] == 5:
			return nil, strings.TrimRight(string(b[4:]), "\x00"), nil
		case b[1] == 6:
			to, last = from, []byte{0, 4, 0, 0}
			continue
		case probe:
			return b[4:], "", r.send(r.server, r.ip, r.at, r.port, from, []byte("\x00\x05\x00\x00\x00"))
		case binary.BigEndian.Uint16(b[2:]) == block:
			content = append(content, b[4:]...)
			to, last = from, binary.BigEndian.AppendUint16([]byte{0, 4}, block)
			block++
		}
		if len(b) < 4+r.block && binary.BigEndian.Uint16(b[2:]) == block-1 {
			return content, "", r.send(r.server, r.ip, r.at, r.port, to, last)
		}
	}
	return nil, "", fmt.Errorf("%s does not come to its end: %d bytes", name, len(content))
}

// wants asks for a file that must begin so.
func (r *rom) wants(name, begin string) error {
	b, why, err := r.get(name, false)
	if err == nil && (why != "" || !strings.HasPrefix(string(b), begin)) {
		err = fmt.Errorf("%s is %.200q, %s", name, b, why)
	}
	return err
}

// kernelARM64 is what a kernel of boards begins with, enough for who does not run it.
var kernelARM64 = strings.Repeat("\x00", 0x38) + "ARM\x64" + strings.Repeat("\x00", 4000)

// piImage is an image for boards of some models, with files that are called as firmware is.
func piImage(t *testing.T, models string) v1.Image {
	t.Helper()
	const dir = "lib/modules/6.1.0/"
	return imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Regular("boot/vmlinuz-6.1.0", kernelARM64), imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.alias", ""),
		imagetest.Regular(dir+"modules.builtin", "kernel/nfs.ko\nkernel/nfsv3.ko\nkernel/overlay.ko\n"),
		imagetest.Regular("boot/firmware/bootcode.bin", "bootcode"+strings.Repeat("b", 51200-8)), imagetest.Regular("boot/firmware/start.elf", "start"+strings.Repeat("s", 200_000)),
		imagetest.Regular("boot/firmware/start4.elf", "start4"+strings.Repeat("s", 200_000)), imagetest.Regular("boot/firmware/fixup.dat", "fixup"),
		imagetest.Regular("boot/firmware/bcm2710-rpi-3-b.dtb", "tree"),
	)}, "walt.node.models", models)
}

// boots3 has a board of the model 3 boot: its ROM loads bootcode.bin, which looks for an
// address once more, and loads the rest.
func (r *rom) boots3() error {
	const serial = "1234abcd/"
	for end := time.Now().Add(boottest.Wait); ; { // until its image is here
		if err := r.address(strings.Repeat("D", 16)); err != nil {
			return err
		}
		b, why, err := r.get("bootcode.bin", false)
		if err != nil {
			return err
		}
		if why == "" {
			if len(b) != 51200 || !strings.HasPrefix(string(b), "bootcode") {
				return fmt.Errorf("bootcode.bin has %d bytes", len(b))
			}
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("there is no bootcode.bin in time: %s", why)
		}
	}
	if _, why, err := r.get("bootsig.bin", false); err != nil || why == "" {
		return fmt.Errorf("bootsig.bin, which is not there: %q, %w", why, err)
	}
	if err := r.address(strings.Repeat("\xcd\xab\x34\x12", 4)); err != nil {
		return err
	}
	if b, why, err := r.get(serial+"start.elf", true); err != nil || why != "" || !strings.HasPrefix(string(b), "start") {
		return fmt.Errorf("a probe finds %.20q, %s, %w", b, why, err)
	}
	for _, f := range [][2]string{
		{"config.txt", "# for this boot of rpi-"},
		{"start.elf", "start"},
		{"fixup.dat", "fixup"},
		{"cmdline.txt", "console=serial0,115200"},
		{"walt-initrd.img", ""},
		{"walt-kernel.img", kernelARM64},
		{"bcm2710-rpi-3-b.dtb", "tree"},
	} {
		if err := r.wants(serial+f[0], f[1]); err != nil {
			return err
		}
	}
	return nil
}

// boots4 has a board of the model 4 boot by its EEPROM, which knows options and larger
// blocks, and tells its model.
func (r *rom) boots4() error {
	r.options, r.block = "tsize\x000\x00blksize\x001024\x00", 1024
	for end := time.Now().Add(boottest.Wait); ; {
		if err := r.address("RPi4\x11\x31\xc0\x00\x00\x00\x32\x04\xcd\xab\x34\x12"); err != nil {
			return err
		}
		b, why, err := r.get("1234abcd/start4.elf", true)
		if err != nil {
			return err
		}
		if why == "" {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("there is no start4.elf in time: %s, %q", why, b)
		}
	}
	for _, f := range [][2]string{{"config.txt", "# for this boot of rpi-"}, {"start4.elf", "start4"}, {"walt-initrd.img", ""}, {"walt-kernel.img", kernelARM64}} {
		if err := r.wants("1234abcd/"+f[0], f[1]); err != nil {
			return err
		}
	}
	return nil
}

// Eight Raspberry Pis of the model 3 and one of the model 4 are switched on in the same
// moment, whose ROMs are played to the byte. Each becomes a node, and gets what boots the
// default image of its model.
func TestPis(t *testing.T) {
	t.Parallel()
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{}, segment)
	for _, name := range []string{"rpi-3-b", "rpi-4-b"} {
		imagetest.Push(t, w.registry, "waltplatform/"+name+"-default:latest", piImage(t, name))
	}
	w.untilLogged("boards and PCs boot from here")
	var roms []*rom
	for i := range 9 {
		mac := fmt.Sprintf("b8:27:eb:00:00:%02x", i)
		if i == 8 {
			mac = "dc:a6:32:00:00:08"
		}
		roms = append(roms, newROM(t, fmt.Sprintf("pi%d", i), mac))
	}
	var all sync.WaitGroup
	for i, r := range roms {
		all.Go(func() {
			boot := r.boots3
			if i == 8 {
				boot = r.boots4
			}
			if err := boot(); err != nil {
				t.Errorf("board %d: %v", i, err)
			}
		})
	}
	all.Wait()
	addresses := map[string]bool{}
	for i, r := range roms {
		addresses[r.ip.String()] = true
		w.until("alice", fmt.Sprintf("node show rpi-00000%d --json", i), `"step":"kernel"`)
	}
	if len(addresses) != len(roms) {
		t.Errorf("they have the addresses %v", addresses)
	}
	if out := w.does("alice", "device show"); strings.Count(out, " rpi-3-b ") != 8 || strings.Count(out, " rpi-4-b ") != 1 {
		t.Errorf("their models are %s", out)
	}
}
