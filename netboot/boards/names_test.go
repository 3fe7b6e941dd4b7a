package boards_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/nodes"
)

// listening is a network on loopback.
type listening struct{ neighbours }

// ListenUDP does not note where: At is of TCP, which comes after it.
func (l *listening) ListenUDP(uint16) (net.PacketConn, error) {
	return net.ListenPacket("udp4", "127.0.0.1:0")
}

// Devices that have an address have a name, with the domain and back; those of other
// networks have none here. Who asks for an address is told to ask this server for names.
func TestNamesOfDevices(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := segment
	s.Domain, s.DNS = "lab.example", netip.MustParseAddr("127.0.0.1") // itself: nobody else is asked
	devices := known{
		one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Switch},
		two.MAC: {Name: "two", MAC: two.MAC, Kind: nodes.Node, Model: "pc-x86-64"},
	}
	on := &listening{neighbours{}}
	hosts, _ := f.serves(on, s, devices)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); boards.ServeNames(ctx, hosts) }()
	defer func() { cancel(); <-ended }()
	at := ""
	for end := time.Now().Add(time.Minute); at == "" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		at = on.Loopback.At(53)
	}
	h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC})
	if !ok || h.IP != one.IP || h.Domain != "lab.example" {
		t.Errorf("it gets %+v, %v", h, ok)
	}
	elsewhere := two
	elsewhere.IP = netip.MustParseAddr("10.0.0.9")
	if _, err := f.Prepare(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"one.": "127.0.0.2", "ONE.lab.example.": "127.0.0.2", "server.lab.example.": "127.0.0.1", "two.": "", "three.": "", "one.lab.example.org.": "",
	} {
		if got := asked(t, at, name, dns.TypeA); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for ip, want := range map[string]string{"2.0.0.127": "one.lab.example.", "1.0.0.127": "server.lab.example.", "9.0.0.127": "", "9.0.0.10": ""} {
		if got := asked(t, at, ip+".in-addr.arpa.", dns.TypePTR); got != want {
			t.Errorf("%s is %q, want %q", ip, got, want)
		}
	}
}

// asked is what a server of names answers, "" when there is nothing of that kind.
func asked(t *testing.T, at, name string, kind uint16) string {
	t.Helper()
	a, _, err := (&dns.Client{Net: "tcp", Timeout: time.Minute}).Exchange(new(dns.Msg).SetQuestion(name, kind), at)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range a.Answer {
		switch r := r.(type) {
		case *dns.A:
			return r.A.String()
		case *dns.PTR:
			return r.Ptr
		}
	}
	return ""
}
