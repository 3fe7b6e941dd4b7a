package boards_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"walt/ethernet"
	"walt/images"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// ofPC is the class that ROMs of Raspberry Pis have: that of a PC.
const ofPC = "PXEClient:Arch:00000:UNDI:002001"

// pi is what the ROM of a board sends that has the MAC address, when it looks for an address.
func pi(mac ethernet.MAC, guid string) dhcp.Client {
	return dhcp.Client{MAC: mac, Class: ofPC, Arch: []uint16{0}, GUID: []byte(guid), Discovers: true}
}

// What the ROM of a board tells when it asks for its address, or what files it asks for
// then, makes a model of it.
func TestModelsOfPis(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const three = ethernet.MAC("b8:27:eb:00:00:01")
	const four = ethernet.MAC("dc:a6:32:00:00:01")
	for what, c := range map[string]struct {
		client dhcp.Client
		files  string
		want   images.Model
	}{
		"a 3":                                   {pi(three, strings.Repeat("D", 16)), "", "rpi-3-b"},
		"a 3+":                                  {pi(three, strings.Repeat("\x16\x4c\x6c\xb6", 4)), "", "rpi-3-b-plus"},
		"a 4":                                   {pi(four, "RPi4\x11\x31\xc0\x00abcdefgh"), "", "rpi-4-b"},
		"a 4, the other way round":              {pi(four, "4iPR\x00\xc0\x31\x11abcdefgh"), "", "rpi-4-b"},
		"a 4 whose MAC address somebody set":    {pi(one.MAC, "RPi4\x11\x31\xc0\x00abcdefgh"), "", "rpi-4-b"},
		"a 5":                                   {pi("2c:cf:67:00:00:01", "RPi5\x70\x41\xd0\x00abcdefgh"), "", "rpi-5-b"},
		"a 6, which nobody knows":               {pi("2c:cf:67:00:00:01", "RPi6\x70\x41\xd0\x00abcdefgh"), "", ""},
		"an old 4":                              {pi(four, strings.Repeat("abcd", 4)), "", ""},
		"an old 4 that asks for files":          {pi(four, strings.Repeat("abcd", 4)), "1234abcd/start4.elf 1234abcd/start.elf", "rpi-4-b"},
		"a 4 that asks for no file of its own":  {pi(four, ""), "1234abcd/config.txt 1234abcd/pieeprom.sig", ""},
		"a 3 that asks for files":               {pi(three, "odd"), "bootcode.bin", "rpi-3-b"},
		"a 3 with bootcode.bin on an SD card":   {pi(three, "odd"), "1234abcd/start.elf", "rpi-3-b"},
		"a 5 that asks for files":               {pi("2c:cf:67:00:00:01", ""), "config.txt 1234abcd/kernel_2712.img", "rpi-5-b"},
		"a PC":                                  {dhcp.Client{MAC: one.MAC, Class: ofPC, Arch: []uint16{0}}, "bootcode.bin", "pc-x86-64"},
		"a 4 with UEFI":                         {dhcp.Client{MAC: four, Class: "PXEClient:Arch:00011:UNDI:003000", Arch: []uint16{11}}, "other.bin", ""},
		"a 4 with iPXE, which has other words":  {dhcp.Client{MAC: four, Class: ofPC, Users: []string{"iPXE"}, Arch: []uint16{0}}, "other.bin", ""},
		"a 4 whose operating system asks again": {dhcp.Client{MAC: four, Class: "dhcpcd-9.4.1:Linux-6.1"}, "other.bin", ""},
	} {
		devices := known{c.client.MAC: {Name: "pi", MAC: c.client.MAC, Kind: nodes.Unknown}}
		hosts, _ := f.serves(nil, segment, devices)
		h, ok := hosts.Host(t.Context(), c.client)
		for name := range strings.FieldsSeq(c.files) {
			if _, err := hosts.(tftp.Files).Open(h.IP, name); !errors.Is(err, fs.ErrNotExist) && (err != nil || !strings.HasSuffix(name, "config.txt")) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
		if got := devices[c.client.MAC].Model; !ok || got != c.want {
			t.Errorf("%s is %q, want %q", what, got, c.want)
		}
		rom := c.client.Class == ofPC && what != "a PC" && c.client.Users == nil
		if (h.Menu == "Raspberry Pi Boot") != rom || rom && (h.Loader != "" || c.client.Discovers != true) {
			t.Errorf("%s: it is answered as %+v", what, h)
		}
		if err := f.Forget(t.Context(), c.client.MAC); err != nil {
			t.Fatal(err)
		}
	}
}

// ROMs up to those of a 3+ miss answers that come at once; others do not wait. A board that
// did not understand the answer gets another one.
func TestReplyDelay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const mac = ethernet.MAC("b8:27:eb:00:00:01")
	half := 500 * time.Millisecond
	for _, c := range []struct {
		model images.Model
		guid  string
		set   *time.Duration
		want  time.Duration
	}{
		{"", "odd", nil, time.Second},
		{"rpi-3-b-plus", "odd", nil, time.Second},
		{"rpi-2-b", "odd", nil, time.Second},
		{"rpi-4-b", "odd", nil, 0},
		{"rpi-5-b", "odd", nil, 0},
		{"rpi-400", "odd", nil, 0},
		{"", "RPi5", nil, 0},
		{"rpi-3-b", "odd", new(time.Duration), 0},
		{"rpi-4-b", "odd", &half, half},
	} {
		devices := known{mac: {Name: "pi", MAC: mac, Kind: nodes.Unknown, Model: c.model, Own: &nodes.Settings{ReplyDelay: c.set}}}
		hosts, _ := f.serves(nil, segment, devices)
		if h, ok := hosts.Host(t.Context(), pi(mac, c.guid)); !ok || h.Delay != c.want {
			t.Errorf("%q, %q: %v, want %v", c.model, c.guid, h.Delay, c.want)
		}
	}
	hosts, _ := f.serves(nil, segment, known{mac: {Name: "pi", MAC: mac, Kind: nodes.Unknown}})
	var menus []string
	for i := range 5 {
		h, _ := hosts.Host(t.Context(), pi(mac, "odd"))
		menus = append(menus, h.Menu)
		if i == 2 { // it found what it looked for
			if _, err := hosts.(tftp.Files).Open(h.IP, "bootcode.bin"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	}
	const text = "Raspberry Pi Boot"
	if got, want := strings.Join(menus, ","), strings.Join([]string{text, text + "   ", text, text, text + "   "}, ","); got != want {
		t.Errorf("it is answered %q, want %q", got, want)
	}
}

// The ROM of a board answers nobody who asks where its address is: where another server
// gives that, it is known from its first question on, until it looks for another one.
func TestPiBesideAnotherServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const mac, at = ethernet.MAC("b8:27:eb:00:00:01"), "127.0.0.77"
	on := &neighbours{at: map[string]string{at: string(mac)}}
	beside := segment
	beside.DHCP = boards.Proxy
	hosts, _ := f.serves(on, beside, known{mac: {Name: "pi", MAC: mac, Kind: nodes.Unknown}})
	asks := func(want error) {
		t.Helper()
		if _, err := hosts.(tftp.Files).Open(netip.MustParseAddr(at), "config.sys"); errors.Is(err, fs.ErrNotExist) != (want == nil) {
			t.Errorf("it asks for a file: %v", err)
		}
	}
	if h, ok := hosts.Host(t.Context(), pi(mac, "odd")); !ok || h.IP.IsValid() || h.Menu == "" {
		t.Errorf("it is answered as %+v", h)
	}
	asks(nil)
	clear(on.at)
	asks(nil)
	if _, ok := hosts.Host(t.Context(), pi(mac, "odd")); !ok {
		t.Error("it is not answered")
	}
	asks(errors.New("nobody is there"))
}
