package lan_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"walt/vnode/lan"
)

var (
	everybody = tcpip.LinkAddress("\xff\xff\xff\xff\xff\xff")
	strange   = tcpip.LinkAddress("\x52\x54\x00\x99\x99\x99")
	serverMAC = tcpip.LinkAddress("\x02walt\x01")
)

// frame is one of IPv4 with UDP in it.
func frame(from, to tcpip.LinkAddress, source, target netip.Addr, sport, dport uint16) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.UDPMinimumSize+4)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: from, DstAddr: to, Type: header.IPv4ProtocolNumber})
	packet := header.IPv4(b[header.EthernetMinimumSize:])
	packet.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(source.As4()), DstAddr: tcpip.AddrFrom4(target.As4()),
	})
	packet.SetChecksum(^packet.CalculateChecksum())
	header.UDP(packet.Payload()).Encode(&header.UDPFields{SrcPort: sport, DstPort: dport, Length: header.UDPMinimumSize + 4})
	copy(packet.Payload()[header.UDPMinimumSize:], "mark")
	return b
}

func arpFrame(from, sender tcpip.LinkAddress, ip netip.Addr) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.ARPSize)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: from, DstAddr: everybody, Type: header.ARPProtocolNumber})
	a := header.ARP(b[header.EthernetMinimumSize:])
	a.SetIPv4OverEthernet()
	a.SetOp(header.ARPReply)
	copy(a.HardwareAddressSender(), sender)
	copy(a.ProtocolAddressSender(), ip.AsSlice())
	return b
}

func changed(b []byte, f func([]byte)) []byte {
	b = slices.Clone(b)
	f(b)
	return b
}

// heard returns the frames that reach a machine up to the one that is the last.
func (h *host) heard(t *testing.T, last []byte) (all [][]byte) {
	t.Helper()
	if err := h.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	for {
		n, err := h.conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(b[:n], last) {
			return all
		}
		all = append(all, slices.Clone(b[:n]))
	}
}

func TestMachinesAreWhoTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil, victim := w.plug("evil"), w.plug("victim")
	zero, all := netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")
	own, other := evil.link(), victim.link()
	good := frame(own, other, evil.ip, victim.ip, 1000, 2000)
	for name, bad := range map[string][]byte{
		"MAC of another":         frame(other, everybody, evil.ip, all, 1, 2),
		"MAC of nobody":          frame(strange, other, evil.ip, victim.ip, 1, 2),
		"MAC of the server":      frame(serverMAC, other, evil.ip, victim.ip, 1, 2),
		"IP of the server":       frame(own, other, w.Server, victim.ip, 1, 2),
		"IP of the world":        frame(own, other, netip.MustParseAddr("8.8.8.8"), victim.ip, 1, 2),
		"no IP":                  frame(own, other, zero, victim.ip, 68, 68),
		"DHCP offer":             frame(own, everybody, evil.ip, all, 67, 68),
		"DHCP from another port": frame(own, other, evil.ip, victim.ip, 1067, 68),
		"DHCP without IP":        frame(own, everybody, zero, all, 68, 67), // the server's alone
		"ARP of the server":      arpFrame(own, own, w.Server),
		"ARP of another":         arpFrame(own, own, victim.ip),
		"ARP for another MAC":    arpFrame(own, other, evil.ip),
		"VLAN":                   changed(good, func(b []byte) { b[12], b[13] = 0x81, 0 }),
		"IPv6":                   changed(good, func(b []byte) { b[12], b[13] = 0x86, 0xdd }),
		"hidden ports":           changed(good, func(b []byte) { b[17], b[20] = 22, 0x20 }),
		"length beyond its end":  changed(good, func(b []byte) { b[16] = 9 }),
		"header beyond its end":  changed(good, func(b []byte) { b[14] = 0x4f }),
		"no header":              good[:14],
		"half of one":            good[:9],
		"nothing":                {},
		"too long":               append(slices.Clone(good), make([]byte, 1600)...),
		"by way of the server":   frame(own, serverMAC, evil.ip, victim.ip, 1, 2),
	} {
		evil.send(bad)
		evil.send(good)
		if got := victim.heard(t, good); len(got) != 0 {
			t.Errorf("%s: reached another machine: %x", name, got)
		}
	}
	log := w.log.String()
	if strings.Count(log, "a node sends what it may not") != 1 || !strings.Contains(log, "node=evil") {
		t.Errorf("the log says: %s", log)
	}
	evil.send(arpFrame(own, own, evil.ip)) // its own is good
	evil.send(good)
	if got := victim.heard(t, good); len(got) != 1 {
		t.Errorf("ARP of its own: %x", got)
	}
}

// What is sent to everybody by one machine does not drown the others.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil, victim := w.plug("evil"), w.plug("victim")
	flood := frame(evil.link(), everybody, evil.ip, netip.MustParseAddr("10.99.0.255"), 1, 2)
	end := frame(evil.link(), victim.link(), evil.ip, victim.ip, 3, 4)
	done, begun := make(chan struct{}), time.Now()
	go func() {
		defer close(done)
		for range 3000 {
			evil.send(flood)
		}
		evil.send(end)
	}()
	got := len(victim.heard(t, end))
	if most := 400 + 200*(int(time.Since(begun)/time.Second)+1); got == 0 || got > most {
		t.Errorf("%d frames to everybody of 3,000 came through, want 1 to %d", got, most)
	}
	<-done
}

func TestAddressesThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.plug("a")
	for name, c := range map[string]lan.Cable{
		"address of the server": {MAC: "52:54:00:00:01:00", IP: w.Server},
		"address elsewhere":     {MAC: "52:54:00:00:01:00", IP: netip.MustParseAddr("10.98.0.9")},
		"MAC that is there":     {MAC: a.mac, IP: netip.MustParseAddr("10.99.0.99")},
		"MAC that is none":      {MAC: "", IP: netip.MustParseAddr("10.99.0.99")},
	} {
		c.Ours, c.Peer = w.dir+"/x.switch", w.dir+"/x"
		if _, err := w.Connect(c); err == nil {
			t.Errorf("%s: connected", name)
		}
		if _, err := os.Stat(c.Ours); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: its socket is still there", name)
		}
	}
}

// A machine goes on when the server is started anew.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	w.Close()
	w.LAN = newWorld(t).LAN
	if _, err := w.Connect(lan.Cable{Name: "a", MAC: a.mac, IP: a.ip, Ours: a.to.Name, Peer: strings.TrimSuffix(a.to.Name, ".switch")}); err != nil {
		t.Fatal(err)
	}
	ours, err := w.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ours)
	c, err := a.dial(netip.AddrPortFrom(w.Server, 80))
	says(t, c, err, "here again")
}

// iPXE waits for an IPv6 router, and takes only an answer to everybody.
func TestRouterSolicitation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.plug("a")
	b := make([]byte, header.EthernetMinimumSize+header.IPv6MinimumSize+header.ICMPv6MinimumSize)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: a.link(), DstAddr: "\x33\x33\x00\x00\x00\x02", Type: header.IPv6ProtocolNumber})
	packet := header.IPv6(b[header.EthernetMinimumSize:])
	packet.Encode(&header.IPv6Fields{
		PayloadLength: header.ICMPv6MinimumSize, TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 255,
		SrcAddr: header.LinkLocalAddr(a.link()), DstAddr: header.IPv6AllRoutersInterfaceLocalMulticastAddress,
	})
	header.ICMPv6(packet.Payload()).SetType(header.ICMPv6RouterSolicit)
	a.send(b)
	if err := a.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2000)
	n, err := a.conn.Read(got)
	if err != nil {
		t.Fatal(err)
	}
	answer := header.IPv6(got[header.EthernetMinimumSize:n])
	message := header.ICMPv6(answer.Payload())
	sum := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message, Src: answer.SourceAddress(), Dst: answer.DestinationAddress()})
	if !answer.IsValid(len(answer)) || message.Type() != header.ICMPv6RouterAdvert || header.NDPRouterAdvert(message.MessageBody()).RouterLifetime() != 0 {
		t.Errorf("%x", got[:n])
	}
	if to := header.Ethernet(got).DestinationAddress(); to != "\x33\x33\x00\x00\x00\x01" || sum != message.Checksum() {
		t.Errorf("to %s, checksum %x, want %x", to, message.Checksum(), sum)
	}
}
