package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// What clients tell of themselves when they look for an address, as their firmware does.
var clients = []struct {
	who  string
	says []dhcpv4.Modifier
}{
	{"BIOS", firmware("PXEClient:Arch:00000:UNDI:002001", 0)},
	{"UEFI", firmware("PXEClient:Arch:00007:UNDI:003000", 7)},
	{"UEFI that boots over HTTP", firmware("HTTPClient:Arch:00016:UNDI:003001", 16)},
	{"iPXE", append(firmware("PXEClient:Arch:00007:UNDI:003010", 7), dhcpv4.WithUserClass("iPXE", false))},
	{"U-Boot", firmware("U-Boot.armv8", 22)},
	{"Linux", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClassIdentifier("udhcp 1.35.0"))}},
}

func firmware(class string, arch byte) []dhcpv4.Modifier {
	return []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, arch})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 0})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, slices.Repeat([]byte{0x44}, 17))),
	}
}

// loading are hosts with a loader for those that look for one.
type loading Host

func (l loading) Host(_ context.Context, c Client) (Host, bool) {
	switch {
	case strings.HasPrefix(c.Class, HTTPClient):
		l.Loader = "http://10.0.0.1:80/loader/" + l.Loader
	case !strings.HasPrefix(c.Class, pxeClient):
		l.Loader = ""
	}
	return Host(l), c.MAC == known
}

// meeting are hosts that know everybody, and of boards what their ROMs look for.
type meeting Host

func (m meeting) Host(_ context.Context, c Client) (Host, bool) {
	m.Loader = ""
	if strings.HasPrefix(c.Class, "PXEClient") {
		m.Menu = "Raspberry Pi Boot"
	}
	return Host(m), true
}

// The answers to each kind of client are those of testdata/answers.txt: to its first
// question, and to the one at the port of a proxy; and to the bytes in testdata/packets: of
// udhcpc as it was captured, of the ROMs of boards as they are known.
func TestGolden(t *testing.T) {
	h := host
	h.Loader, h.Domain, h.Time = "snponly.efi", "lab.example", h.Server
	var got strings.Builder
	tell := func(what string, b []byte) {
		fmt.Fprintf(&got, "== %s\n", what)
		if b == nil {
			fmt.Fprintln(&got, "nothing")
			return
		}
		a, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(a.Summary()) {
			if line = strings.TrimSpace(line); line != "" {
				fmt.Fprintln(&got, line)
			}
		}
	}
	for _, c := range clients {
		b, _ := (&Server{Hosts: loading(h)}).Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, c.says...))
		tell("full, "+c.who, b)
		proxy := &Server{Hosts: loading(h), Proxy: true}
		b, to := proxy.Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, c.says...))
		if b != nil && to.String() != toAll {
			t.Errorf("%s is told by a proxy at %s", c.who, to)
		}
		tell("proxy, "+c.who, b)
		tell("proxy at its port, "+c.who, proxy.AnswerDirectly(t.Context(), ask(t, known, dhcpv4.MessageTypeRequest, append(c.says, dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 9)))...)))
	}
	files, err := filepath.Glob("testdata/packets/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no packets: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		packet := unhex(t, strings.Join(strings.Fields(string(text)), ""))
		who := strings.TrimSuffix(filepath.Base(file), ".hex")
		for kind, s := range []*Server{{Hosts: meeting(h)}, {Hosts: meeting(h), Proxy: true}} {
			b, to := s.Answer(t.Context(), packet)
			tell(fmt.Sprintf("%s, %s, to %s", []string{"full", "proxy"}[kind], who, to), b)
		}
	}
	const file = "testdata/answers.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if got.String() != string(want) {
		t.Errorf("the answers are not those of %s; they are\n%s", file, got.String())
	}
}

// A proxy leaves alone what is the business of the server that gives addresses.
func TestProxyIsSilent(t *testing.T) {
	h := host
	h.Loader = "snponly.efi"
	s := &Server{Hosts: one(h), Proxy: true}
	uefi := firmware("PXEClient:Arch:00007:UNDI:003000", 7)
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeOffer} {
		if b, _ := s.Answer(t.Context(), ask(t, known, kind, append(uefi, wants("10.0.0.7"))...)); b != nil {
			t.Errorf("%s is answered", kind)
		}
	}
	if b := s.AnswerDirectly(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, uefi...)); b != nil {
		t.Error("who looks for an address is answered at the port of a proxy")
	}
	if b, _ := s.Answer(t.Context(), ask(t, "52:54:00:00:00:02", dhcpv4.MessageTypeDiscover, uefi...)); b != nil {
		t.Error("a stranger is answered")
	}
	h.Loader = ""
	if b, _ := (&Server{Hosts: one(h), Proxy: true}).Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, uefi...)); b != nil {
		t.Error("firmware for which there is no loader is answered")
	}
}

// Who takes its address from another server tells which.
func TestChosen(t *testing.T) {
	var chosen []string
	s := &Server{Hosts: one(host), Chosen: func(a netip.Addr) { chosen = append(chosen, a.String()) }}
	for _, packet := range [][]byte{
		ask(t, known, dhcpv4.MessageTypeDiscover), ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7")),
		ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7"), chose("10.0.0.2")), ask(t, "52:54:00:00:00:02", dhcpv4.MessageTypeRequest, wants("10.0.0.7"), chose("10.0.0.3")),
	} {
		s.Answer(t.Context(), packet)
	}
	if !slices.Equal(chosen, []string{"10.0.0.2", "10.0.0.3"}) {
		t.Errorf("the others are %v", chosen)
	}
}
