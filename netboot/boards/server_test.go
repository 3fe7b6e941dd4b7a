package boards_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/nodes"
)

// A machine of the server on the network of boards has an address of theirs, and is answered
// there while it is on, as the machine that it is.
func TestMachineOnTheSegment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	all := f.boards(known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64", Host: nodes.QEMU}})
	hosts, script := boards.Boards(all, nil, segment)
	m, err := all.OnSegment(t.Context(), one.MAC)
	if want := (netboot.Machine{IP: one.IP, Server: server, Net: segment.Net, Router: segment.Router}); err != nil || m != want {
		t.Fatalf("it is %+v, %v, want %+v", m, err, want)
	}
	silent := func(when string) {
		t.Helper()
		if h, is := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC}); is {
			t.Errorf("%s it gets %+v", when, h)
		}
	}
	silent("while it is off")
	m.Name, m.MAC, m.Virtual = "one", one.MAC, true
	for _, fetches := range []bool{false, true} {
		if fetches {
			m.Settings.Loader = nodes.PXE
		}
		if _, err := f.Prepare(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		h, is := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC})
		if !is || h.Name != "one" || h.IP != one.IP || h.Router != segment.Router || h.Time != server || strings.Contains(h.Script, "/ipxe/") != fetches {
			t.Errorf("it gets %+v, %v; a script: %v", h, is, fetches)
		}
	}

	// What boards ask for begins no other boot of it.
	before, _ := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC})
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/ipxe", nil)
	r.RemoteAddr = m.IP.String() + ":1000"
	if script(w, r); w.Code != http.StatusForbidden {
		t.Errorf("it is to do %q", w.Body)
	}
	for _, name := range []string{"boot.scr.uimg", "start.uboot", "config.txt", "extlinux/extlinux.conf", "pxelinux.cfg/default"} {
		if _, err := boards.Told(hosts).Open(m.IP, name); err == nil {
			t.Errorf("it gets %s", name)
		}
	}
	if after, is := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC}); !is || after != before {
		t.Errorf("after that it gets %+v, %v", after, is)
	}

	f.Over(m.IP)
	silent("after it was switched off")
	m.IP, m.Net = netip.MustParseAddr("10.217.0.2"), netip.MustParsePrefix("10.217.0.0/20")
	if _, err := f.Prepare(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	silent("where it is on another network")
}

// Whether a machine may start there is known when it is known of boards, and who does not
// want to wait for that does not.
func TestSegmentThatIsNotServed(t *testing.T) {
	t.Parallel()
	all := newFixture(t).boards(known{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(ctx context.Context, place, begins error) {
		t.Helper()
		if _, err := all.OnSegment(ctx, one.MAC); !errors.Is(err, place) {
			t.Errorf("where it is: %v, want %v", err, place)
		}
		if err := all.Begins(ctx); !errors.Is(err, begins) {
			t.Errorf("it may start: %v, want %v", err, begins)
		}
	}
	check(gone, context.Canceled, context.Canceled)
	down := fault.Failedf("it is down")
	all.Unserved(down)
	check(t.Context(), down, down)
	hosts, _ := boards.Boards(all, nil, segment)
	if err := all.Begins(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("it may start before that is known: %v", err)
	}
	other := fault.Failedf("another server answers")
	boards.Begin(hosts, other)
	check(t.Context(), nil, other)
	boards.Begin(hosts, nil)
	check(t.Context(), nil, nil)
	if _, err := all.OnSegment(t.Context(), ethernet.MAC("52:54:00:00:00:07")); err != nil { // the last address
		t.Error(err)
	}
	if _, err := all.OnSegment(t.Context(), ethernet.MAC("52:54:00:00:00:08")); fault.As(err) == nil {
		t.Errorf("without an address: %v", err)
	}
}

// While a segment is served, devices are answered by HTTP, and the lab is told of what they do
// not get there.
func TestServe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	on := &listening{neighbours{at: map[string]string{one.IP.String(): string(one.MAC)}}}
	s := segment
	s.DHCP = boards.Off
	all := f.boards(known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- all.Serve(ctx, on, s, net.HardwareAddr{2, 0, 0, 0, 0, 1}) }()
	if err := all.Begins(t.Context()); err != nil {
		t.Error(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: netboottest.From(one).DialContext, DisableKeepAlives: true}}
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/ipxe", http.StatusOK, " walt.ip=127.0.0.2/24 "},
		{"/boot/start.ipxe", http.StatusOK, " walt.ip=127.0.0.2/24 "},
		{"/boot/start.uboot", http.StatusOK, "is none that U-Boot starts"},
		{"/vmlinuz", http.StatusNotFound, ""},
		{"/loader/none", http.StatusNotFound, ""},
	} {
		r, err := client.Get("http://" + on.At(netboot.PortHTTP) + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s: status %d, %q, %v", c.path, r.StatusCode, body, err)
		}
	}
	f.Over(one.IP) // who has no boot is told of by the name that its address has
	r, err := client.Get("http://" + on.At(netboot.PortHTTP) + "/initrd/x")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	want := []string{
		"one refused HTTP /vmlinuz: there is no such file", "one refused HTTP /loader/none: there is no such file",
		"one refused HTTP /initrd/...: it is of another boot, or was given already",
	}
	if !slices.Equal(f.Files(), want) {
		t.Errorf("the lab was told of the files %q, want %q", f.Files(), want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A device whose firmware asks for its address, and whose agent goes on, is two.
func TestSameMAC(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var ahead atomic.Int64 // seconds
	f.Next.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Second) }
	f.Start()
	hosts, _ := f.serves(nil, segment, known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}})
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00007:UNDI:003000", Arch: []uint16{7}})
	ahead.Add(60)
	f.Report(c, netboottest.ReportOf(i, instructions.Init))
	imagetest.Until(t, "it is told", func() bool { return strings.HasPrefix(f.Worries()["twice 52:54:00:00:00:01"], "one two devices have") })
}
