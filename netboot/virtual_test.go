package netboot_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/nodes"
)

// A machine of the server on the network of boards has an address of theirs, and is answered
// there while it is on, as the machine that it is.
func TestMachineOnTheSegment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hosts, script := netboot.Boards(f.Server, nil, segment, known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64", Host: nodes.QEMU}})
	m, err := f.OnSegment(t.Context(), one.MAC)
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
		if _, err := netboot.Told(hosts).Open(m.IP, name); err == nil {
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
	f := newFixture(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(ctx context.Context, place, begins error) {
		t.Helper()
		if _, err := f.OnSegment(ctx, one.MAC); !errors.Is(err, place) {
			t.Errorf("where it is: %v, want %v", err, place)
		}
		if err := f.Begins(ctx); !errors.Is(err, begins) {
			t.Errorf("it may start: %v, want %v", err, begins)
		}
	}
	check(gone, context.Canceled, context.Canceled)
	down := fault.Failedf("it is down")
	f.Unserved(down)
	check(t.Context(), down, down)
	hosts, _ := netboot.Boards(f.Server, nil, segment, known{})
	if err := f.Begins(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("it may start before that is known: %v", err)
	}
	other := fault.Failedf("another server answers")
	netboot.Begin(hosts, other)
	check(t.Context(), nil, other)
	netboot.Begin(hosts, nil)
	check(t.Context(), nil, nil)
	if _, err := f.OnSegment(t.Context(), ethernet.MAC("52:54:00:00:00:07")); err != nil { // the last address
		t.Error(err)
	}
	if _, err := f.OnSegment(t.Context(), ethernet.MAC("52:54:00:00:00:08")); fault.As(err) == nil {
		t.Errorf("without an address: %v", err)
	}
}
