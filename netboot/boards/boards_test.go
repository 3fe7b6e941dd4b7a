package boards_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/state"
)

// known are the devices of a lab; others stay out.
type known map[ethernet.MAC]nodes.Device

func (k known) Met(_ context.Context, a nodes.Arrival) (nodes.Device, error) {
	d, here := k[a.MAC]
	if !here {
		return d, fault.Failedf("no strangers")
	}
	if d.Model == "" {
		d.Model = a.Model
	}
	k[a.MAC] = d
	return d, nil
}

func (k known) Asleep(context.Context, ethernet.MAC, string) error { return nil }

func (k known) Device(_ context.Context, mac ethernet.MAC) (nodes.Device, bool, error) {
	d, here := k[mac]
	return d, here, nil
}

func (k known) Called(_ context.Context, n nodes.Name) (nodes.Device, bool, error) {
	for _, d := range k {
		if d.Name == n {
			return d, true, nil
		}
	}
	return nodes.Device{}, false, nil
}

// segment is one with two addresses for devices, of which the first is the server's.
var segment = boards.Segment{
	DHCP: boards.Full, Net: netip.MustParsePrefix("127.0.0.0/24"), Server: server, Router: netip.MustParseAddr("127.0.0.3"),
	First: netip.MustParseAddr("127.0.0.1"), Last: netip.MustParseAddr("127.0.0.4"),
}

func TestBoards(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const again = "; it asks again every 5 s\nsleep 5\nchain --replace --autofree http://127.0.0.1:80/ipxe ||\ndhcp ||\ngoto walt\n"
	devices := known{
		one.MAC:             {Name: "one", MAC: one.MAC, Kind: nodes.Unknown},
		two.MAC:             {Name: "two", MAC: two.MAC, Kind: nodes.Node, Model: "pc-x86-64", Host: nodes.QEMU},
		"52:54:00:00:00:03": {Name: "three", MAC: "52:54:00:00:00:03", Kind: nodes.Switch},
		"52:54:00:00:00:04": {Name: "four", MAC: "52:54:00:00:00:04", Kind: nodes.Unknown},
	}
	hosts, script := f.serves(nil, segment, devices)
	asks := func(from string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/ipxe", nil)
		r.RemoteAddr = from + ":1000"
		script(w, r)
		return w.Code, w.Body.String()
	}
	host := func(c dhcp.Client) (dhcp.Host, bool) { return hosts.Host(t.Context(), c) }

	// Each gets an address of its own, that of nobody else, for ever.
	for range 2 {
		h, ok := host(dhcp.Client{MAC: one.MAC})
		want := dhcp.Host{Name: "one", IP: one.IP, Net: segment.Net, Server: server, Time: server, Router: segment.Router, Script: "http://127.0.0.1:80/ipxe"}
		if !ok || h != want {
			t.Errorf("it gets %+v, %v, want %+v", h, ok, want)
		}
	}
	if h, ok := host(dhcp.Client{MAC: "52:54:00:00:00:03"}); !ok || h.IP.String() != "127.0.0.4" {
		t.Errorf("the next one gets %+v, %v", h, ok)
	}
	for what, mac := range map[string]ethernet.MAC{
		"a stranger": "52:54:00:00:00:99", "one that runs on the server": two.MAC, "one more than there are addresses": "52:54:00:00:00:04",
	} {
		if h, ok := host(dhcp.Client{MAC: mac}); ok {
			t.Errorf("%s gets %+v", what, h)
		}
	}

	// It waits as long as it cannot boot, and is told why.
	waits := func(why string) {
		t.Helper()
		if _, got := asks("127.0.0.2"); got != "#!ipxe\n:walt\nimgfree\necho walt: "+why+again {
			t.Errorf("it is to do %q, want it to show %q", got, why)
		}
	}
	waits("its model is not known, tell it: device config one model=MODEL")
	host(dhcp.Client{MAC: one.MAC, Arch: []uint16{7}})
	waits("the default image of pc-x86-64 is not here yet")
	for _, from := range []string{"127.0.0.9", "127.0.0.3"} {
		if status, _ := asks(from); status != 403 {
			t.Errorf("from %s, which is nobody's: status %d", from, status)
		}
	}
	if _, got := asks("127.0.0.4"); strings.Contains(got, "kernel") {
		t.Errorf("a switch is to do %q", got)
	}

	// Then it boots what the node is to boot: each time as if it were the first.
	d := devices[one.MAC]
	d.Kind = nodes.Node
	devices[one.MAC] = d
	var tokens []string
	for range 2 {
		_, got := asks("127.0.0.2")
		_, token, _ := strings.Cut(got, "/boot/")
		token, _, _ = strings.Cut(token, " ")
		want := "#!ipxe\n" +
			"kernel http://127.0.0.1:80/kernel/TOKEN initrd=initrd console=ttyS0,115200 console=tty0 panic=10 walt.mac=52:54:00:00:00:01 walt.ip=127.0.0.2/24 walt.gw=127.0.0.3 walt.boot=http://127.0.0.1:80/boot/TOKEN || goto walt\n" +
			"initrd --name initrd http://127.0.0.1:80/initrd/TOKEN || goto walt\nboot || goto walt\n:walt\nimgfree\necho walt: it did not boot" + again
		if token == "" || strings.ReplaceAll(got, token, "TOKEN") != want {
			t.Fatalf("it is to do %q, want %q", got, want)
		}
		tokens = append(tokens, token)
	}
	if _, status := f.Ask(one, tokens[0]); status != 403 {
		t.Errorf("instructions of the boot before: status %d", status)
	}
	i, _ := f.Ask(one, tokens[1])
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")

	// It is called otherwise while it runs.
	f.Renamed(one.MAC, "bench")
	f.Report(c, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("bench up at 127.0.0.2:22")
	if ip, found := f.Find("bench"); !found || ip != one.IP {
		t.Errorf("by its new name it is at %v, %v", ip, found)
	}

	// Who asks in its name what it boots does not end that: its firmware looks for an address first.
	if _, got := asks("127.0.0.2"); !strings.Contains(got, "\necho walt: the system that it booted still runs; it asks again") {
		t.Errorf("while it runs it is to do %q", got)
	}
	f.Report(c, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("bench up at 127.0.0.2:22")
	host(dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00000:UNDI:002001", Arch: []uint16{0}, Discovers: true})

	// What it cannot boot is said in words that iPXE does not take for its own.
	f.Choose("one", "hollow")
	_, got := asks("127.0.0.2")
	if want := "#!ipxe\n:walt\nimgfree\necho walt: the image cannot boot a machine: it has no kernel"; !strings.HasPrefix(got, want) || !strings.Contains(got, "\nsleep 30\nchain ") {
		t.Errorf("it is to do %q", got)
	}
	f.Hears("one failed: the image cannot boot a machine: it has no kernel")

	// One that is removed has nothing any more, and its address is another one's.
	f.Choose("one", "red")
	if _, got := asks("127.0.0.2"); !strings.Contains(got, "\nboot || goto walt\n") {
		t.Errorf("it is to do %q", got)
	}
	if _, err := f.Store.Update(t.Context(), func(tx state.Tx) error { return f.Forgo(tx, one.MAC) }); err != nil {
		t.Fatal(err)
	}
	f.Gone(one.MAC)
	if _, found := f.Find("one"); found {
		t.Error("it is removed, and has its boot")
	}
	if h, ok := host(dhcp.Client{MAC: "52:54:00:00:00:04"}); !ok || h.IP != one.IP {
		t.Errorf("the next one gets %+v, %v", h, ok)
	}
}

// What a device tells of itself makes a model of it, or nothing does.
func TestModelsOfBoards(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const pc = "PXEClient:Arch:00000:UNDI:002001"
	for _, c := range []struct {
		client dhcp.Client
		want   images.Model
	}{
		{dhcp.Client{Class: pc, Arch: []uint16{0}}, "pc-x86-64"},
		{dhcp.Client{Arch: []uint16{6, 7}}, "pc-x86-64"},
		{dhcp.Client{Class: "HTTPClient:Arch:00016:UNDI:003001", Arch: []uint16{16}}, "pc-x86-64"},
		{dhcp.Client{Arch: []uint16{11}}, ""},
		{dhcp.Client{Class: pc}, ""},
		{dhcp.Client{MAC: "b8:27:eb:00:00:01", Class: pc, Arch: []uint16{0}}, ""},
		{dhcp.Client{MAC: "b8:27:eb:00:00:01", Class: "walt.node.rpi-3-b", Arch: []uint16{0}}, "rpi-3-b"},
		{dhcp.Client{Users: []string{"iPXE", "walt.node.pc-x86-32"}, Arch: []uint16{0}}, "pc-x86-32"},
		{dhcp.Client{Class: "walt.node.../etc", Arch: []uint16{22}}, ""},
		{dhcp.Client{Class: "android-dhcp-14"}, ""},
	} {
		if c.client.MAC == "" {
			c.client.MAC = one.MAC
		}
		devices := known{c.client.MAC: {Name: "one", MAC: c.client.MAC, Kind: nodes.Unknown}}
		hosts, _ := f.serves(nil, segment, devices)
		if _, ok := hosts.Host(t.Context(), c.client); !ok || devices[c.client.MAC].Model != c.want {
			t.Errorf("%+v is %q, %v, want %q", c.client, devices[c.client.MAC].Model, ok, c.want)
		}
		if err := f.Forget(t.Context(), c.client.MAC); err != nil {
			t.Fatal(err)
		}
	}
}

// Firmware that is not iPXE gets that, by its architecture, and no file beside it.
func TestLoaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	on := segment
	on.Loaders = t.TempDir()
	if err := os.WriteFile(filepath.Join(on.Loaders, "snponly.efi"), []byte("uefi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(on.Loaders, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	devices := known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Unknown}, "b8:27:eb:00:00:01": {Name: "pi", MAC: "b8:27:eb:00:00:01", Kind: nodes.Unknown}}
	hosts, _ := f.serves(nil, on, devices)
	files := hosts.(tftp.Files)
	if _, err := files.Open(one.IP, "snponly.efi"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it has an address: %v", err)
	}
	for _, c := range []struct {
		client dhcp.Client
		want   string
	}{
		{dhcp.Client{MAC: "b8:27:eb:00:00:01", Class: "PXEClient:Arch:00000:UNDI:002001", Arch: []uint16{0}}, ""},
		{dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00000:UNDI:002001", Arch: []uint16{0}}, "undionly.kpxe"},
		{dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00007:UNDI:003000", Arch: []uint16{7}}, "snponly.efi"},
		{dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00009:UNDI:003016", Arch: []uint16{9}}, "snponly.efi"},
		{dhcp.Client{MAC: one.MAC, Class: "HTTPClient:Arch:00016:UNDI:003001", Arch: []uint16{16}}, "http://127.0.0.1:80/loader/snponly.efi"},
		{dhcp.Client{MAC: one.MAC, Class: "HTTPClient:Arch:00019:UNDI:003001", Arch: []uint16{19}}, ""},
		{dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00011:UNDI:003000", Arch: []uint16{11}}, ""},
		{dhcp.Client{MAC: one.MAC, Class: "PXEClient"}, ""},
		{dhcp.Client{MAC: one.MAC, Class: "Linux", Arch: []uint16{7}}, ""},
	} {
		if h, ok := hosts.Host(t.Context(), c.client); !ok || h.Loader != c.want {
			t.Errorf("%+v loads %q, %v, want %q", c.client, h.Loader, ok, c.want)
		}
	}
	for name, want := range map[string]string{
		"snponly.efi": "uefi", "/snponly.efi": "uefi", "undionly.kpxe": "not installed",
		"other": "none", "../secret": "none", "": "none", ".": "none", "//snponly.efi": "none", "snponly.efi/": "none",
	} {
		file, err := files.Open(hostOf(t, hosts, one.MAC), name)
		got := "not installed"
		switch {
		case err == nil:
			b := make([]byte, file.Size)
			if _, err := file.ReadAt(b, 0); err != nil {
				t.Error(err)
			}
			got = string(b)
			file.Close()
		case errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), on.Loaders):
			got = "none"
		}
		if got != want {
			t.Errorf("%q is %q, %v, want %q", name, got, err, want)
		}
	}
}

// UEFI that loads by HTTP asks for the size of a loader, and then for that; the lab is told
// when it has it.
func TestLoaderByHTTP(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	on := segment
	on.Loaders = t.TempDir()
	if err := os.WriteFile(filepath.Join(on.Loaders, "snponly.efi"), []byte("uefi"), 0o600); err != nil {
		t.Fatal(err)
	}
	hosts, ask := f.serves(nil, on, known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}})
	from := hostOf(t, hosts, one.MAC)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = r.Header.Get("From")
		ask(w, r)
	}))
	defer web.Close()
	for _, c := range []struct {
		method, name, from string
		status             int
		body               string
	}{
		{"HEAD", "snponly.efi", from.String(), 200, ""},
		{"GET", "snponly.efi", from.String(), 200, "uefi"},
		{"GET", "snponly.efi", "127.0.0.9", 404, "404 page not found\n"}, // which is nobody's
		{"GET", "ipxe.efi", from.String(), 404, "404 page not found\n"},
		{"GET", "boot.scr.uimg", from.String(), 404, "404 page not found\n"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, web.URL+"/loader/"+c.name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("From", c.from+":1000")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || string(body) != c.body || c.status == 200 && answer.ContentLength != 4 {
			t.Errorf("%s %s from %s: status %d, %d bytes, %q, %v", c.method, c.name, c.from, answer.StatusCode, answer.ContentLength, body, err)
		}
	}
	if want := []string{"one strayed", "one efi"}; !slices.Equal(f.Steps(), want) {
		t.Errorf("the lab was told the steps %q, want %q", f.Steps(), want)
	}
	if len(f.Files()) == 0 || f.Files()[0] != "one sent 4 for efi" {
		t.Errorf("the lab was told of the files %q", f.Files())
	}
}

// hostOf is the address that a device gets.
func hostOf(t *testing.T, hosts dhcp.Hosts, mac ethernet.MAC) netip.Addr {
	t.Helper()
	h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: mac})
	if !ok {
		t.Fatalf("%s gets no address", mac)
	}
	return h.IP
}

// closedPorts is a network of which ports cannot be opened, for a reason each.
type closedPorts struct {
	netboottest.Loopback
	why map[uint16]error
}

func (c *closedPorts) Listen(port uint16) (net.Listener, error) {
	if err := c.why[port]; err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return c.Loopback.Listen(port)
}

func (c *closedPorts) ListenBroadcast(port uint16) (net.PacketConn, error) {
	if err := c.why[port]; err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return c.Loopback.ListenBroadcast(port)
}

func (c *closedPorts) ListenUDP(port uint16) (net.PacketConn, error) { return c.ListenBroadcast(port) }

func (c *closedPorts) Neighbour(netip.Addr) net.HardwareAddr { return nil }

func (c *closedPorts) DialUDP(netip.AddrPort, net.HardwareAddr) (net.Conn, error) {
	return nil, errors.New("not here")
}

func (c *closedPorts) AskWho(netip.Addr) error { return errors.New("not here") }

func (c *closedPorts) HearServers(context.Context, func(net.HardwareAddr, []byte)) error { return nil }

func TestCheck(t *testing.T) {
	t.Parallel()
	for port, c := range map[uint16]struct {
		why  error
		want string
	}{
		80: {syscall.EADDRINUSE, "boards and PCs cannot be served: another program has port 80"},
		69: {syscall.EACCES, "boards and PCs cannot be served: this process may not open port 69: it lacks CAP_NET_BIND_SERVICE"},
		67: {syscall.EPERM, "boards and PCs cannot be served: this process may not open port 67: it lacks CAP_NET_RAW"},
		68: {syscall.EADDRINUSE, "boards and PCs cannot be served: another program has port 68"},
	} {
		on := &closedPorts{why: map[uint16]error{port: c.why}}
		err := boards.Check(t.Context(), on, segment, net.HardwareAddr{2, 0, 0, 0, 0, 1})
		hint := "which one has a port, this tells: ss -tulpn"
		if errors.Is(c.why, os.ErrPermission) {
			hint = "run it as root"
		}
		if f := fault.As(err); f == nil || f.Msg != c.want || !strings.Contains(f.Hint, hint) {
			t.Errorf("port %d: %+v, want %q", port, f, c.want)
		}
	}
}

// All that is in the way is told at once, with the rights that are missing.
func TestOpenable(t *testing.T) {
	t.Parallel()
	on := &closedPorts{why: map[uint16]error{
		80: syscall.EACCES, 2049: syscall.EADDRINUSE, 69: syscall.EACCES, 67: syscall.EPERM,
	}}
	f := fault.As(boards.Openable(on, segment, net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	const msg = "boards and PCs cannot be served: this process may not open port 80, port 69 and port 67: " +
		"it lacks CAP_NET_BIND_SERVICE and CAP_NET_RAW; another program has port 2049"
	const hint = "run it as root, or with the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW (see: waltd help admin)\n" +
		"end the other program; which one has a port, this tells: ss -tulpn"
	if f == nil || f.Msg != msg || f.Hint != hint {
		t.Errorf("it says %+v", f)
	}
}
