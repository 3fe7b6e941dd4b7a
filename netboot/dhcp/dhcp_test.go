package dhcp

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// one is the only machine that is known.
type one Host

const known = "52:54:00:00:00:01"

func (o one) Host(_ context.Context, c Client) (Host, bool) { return Host(o), c.MAC == known }

var (
	host = Host{
		Name: "vm1", IP: netip.MustParseAddr("10.0.0.7"), Net: netip.MustParsePrefix("10.0.0.0/20"),
		Server: netip.MustParseAddr("10.0.0.1"), Router: netip.MustParseAddr("10.0.0.1"), DNS: netip.MustParseAddr("10.0.0.1"), Script: "http://10.0.0.1:80/ipxe/TOKEN",
	}
	toAll = "255.255.255.255:68"
)

// ask is a packet of a client.
func ask(t *testing.T, mac string, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}), dhcpv4.WithMessageType(kind)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return q.ToBytes()
}

func wants(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func chose(server string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
}

func TestAnswers(t *testing.T) {
	s := &Server{Hosts: one(host)}
	broadcast, at := dhcpv4.WithBroadcast(true), dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 7))
	for what, c := range map[string]struct {
		packet []byte
		kind   dhcpv4.MessageType // none: no answer
		to     string
	}{
		"a machine looks for an address":  {ask(t, known, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.0.0.7:68"},
		"and hears what is for everybody": {ask(t, known, dhcpv4.MessageTypeDiscover, broadcast), dhcpv4.MessageTypeOffer, toAll},
		"it takes it":                     {ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7"), chose("10.0.0.1")), dhcpv4.MessageTypeAck, "10.0.0.7:68"},
		"it takes that of another server": {ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7"), chose("10.0.0.2")), dhcpv4.MessageTypeNone, ""},
		"it had the address":              {ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7")), dhcpv4.MessageTypeAck, "10.0.0.7:68"},
		"it had another address":          {ask(t, known, dhcpv4.MessageTypeRequest, wants("10.0.0.8")), dhcpv4.MessageTypeNak, toAll},
		"it goes on with its address":     {ask(t, known, dhcpv4.MessageTypeRequest, at), dhcpv4.MessageTypeAck, "10.0.0.7:68"},
		"it wants no address":             {ask(t, known, dhcpv4.MessageTypeRequest), dhcpv4.MessageTypeNak, toAll},
		"it asks for the rest":            {ask(t, known, dhcpv4.MessageTypeInform, at), dhcpv4.MessageTypeAck, "10.0.0.7:68"},
		"through a relay":                 {ask(t, known, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.IPv4(10, 0, 9, 9))), dhcpv4.MessageTypeOffer, "10.0.9.9:67"},
		"through one of another network":  {ask(t, known, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.IPv4(192, 0, 2, 9))), dhcpv4.MessageTypeNone, ""},
		"the rest is for somebody else":   {ask(t, known, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 9))), dhcpv4.MessageTypeNone, ""},
		"it gives the address back":       {ask(t, known, dhcpv4.MessageTypeRelease, at), dhcpv4.MessageTypeNone, ""},
		"it does not like it":             {ask(t, known, dhcpv4.MessageTypeDecline, wants("10.0.0.7")), dhcpv4.MessageTypeNone, ""},
		"another server":                  {ask(t, known, dhcpv4.MessageTypeOffer), dhcpv4.MessageTypeNone, ""},
		"an answer":                       {ask(t, known, dhcpv4.MessageTypeDiscover, func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), dhcpv4.MessageTypeNone, ""},
		"a stranger":                      {ask(t, "52:54:00:00:00:02", dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeNone, ""},
		"a long address":                  {ask(t, "52:54:00:00:00:01:00:00", dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeNone, ""},
		"nonsense":                        {[]byte(strings.Repeat("x", 300)), dhcpv4.MessageTypeNone, ""},
		"nothing":                         {nil, dhcpv4.MessageTypeNone, ""},
	} {
		b, to := s.Answer(t.Context(), c.packet)
		if c.kind == dhcpv4.MessageTypeNone {
			if b != nil {
				t.Errorf("%s: it is answered", what)
			}
			continue
		}
		a, err := dhcpv4.FromBytes(b)
		if err != nil || a.MessageType() != c.kind || to.String() != c.to || a.TransactionID != (dhcpv4.TransactionID{1, 2, 3, 4}) || !a.ServerIdentifier().Equal(host.Server.AsSlice()) {
			t.Errorf("%s: to %s, %v, %v", what, to, a, err)
			continue
		}
		address := c.kind != dhcpv4.MessageTypeNak && what != "it asks for the rest"
		if a.YourIPAddr.Equal(host.IP.AsSlice()) != address || (a.IPAddressLeaseTime(0) == lease) != address {
			t.Errorf("%s: %v for %s", what, a.YourIPAddr, a.IPAddressLeaseTime(0))
		}
		if a.BootFileNameOption() != "" {
			t.Errorf("%s: it is told to boot %s", what, a.BootFileNameOption())
		}
	}
}

// What iPXE is told, to the byte: who sends it is too simple to forgive anything.
func TestAnswerToIPXE(t *testing.T) {
	s := &Server{Hosts: one(host)}
	for what, class := range map[string]dhcpv4.Modifier{
		"as iPXE says it": dhcpv4.WithUserClass("iPXE", false), "as RFC 3004 has it": dhcpv4.WithUserClass("iPXE", true),
	} {
		b, to := s.Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, class))
		head := "02010600" + "01020304" + "00000000" + "00000000" + "0a000007" + "0a000001" + "00000000" + "525400000001" + strings.Repeat("00", 10+64+128)
		options := "63825363" + "0104fffff000" + "03040a000001" + "06040a000001" + "0c03766d31" + "330400015180" + "350102" + "36040a000001" +
			"431d" + hex.EncodeToString([]byte(host.Script)) + "af03b00101" + "ff"
		if got := hex.EncodeToString(bytes.TrimRight(b, "\x00")); got != head+options || to.String() != "10.0.0.7:68" || len(b) < 300 {
			t.Errorf("%s: to %s, %d bytes:\n%s, want\n%s", what, to, len(b), got, head+options)
		}
	}
	silent := host
	silent.Script = ""
	b, _ := (&Server{Hosts: one(silent)}).Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, dhcpv4.WithUserClass("iPXE", false)))
	if a, err := dhcpv4.FromBytes(b); err != nil || a.Options.Has(dhcpv4.OptionBootfileName) || a.Options.Has(ipxeOptions) {
		t.Errorf("with nothing to boot: %v, %v", a, err)
	}
}

// Other firmware is told its loader wherever it looks for that, and never that the server
// is one of PXE: without option 43 UEFI would ask that at port 4011.
func TestAnswerToFirmware(t *testing.T) {
	h := host
	h.Loader = "snponly.efi"
	s := &Server{Hosts: one(h)}
	for what, c := range map[string]struct {
		client dhcpv4.Modifier
		file   string // in the header
		option string
	}{
		"UEFI": {dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000")), "snponly.efi", "snponly.efi"},
		"iPXE": {dhcpv4.WithUserClass("iPXE", false), "", host.Script},
	} {
		b, _ := s.Answer(t.Context(), ask(t, known, dhcpv4.MessageTypeDiscover, c.client))
		a, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		server := a.TFTPServerName()
		if a.BootFileName != c.file || a.BootFileNameOption() != c.option || (server == "10.0.0.1") != (c.file != "") ||
			a.ServerIPAddr.String() != "10.0.0.1" || a.Options.Has(dhcpv4.OptionClassIdentifier) {
			t.Errorf("%s: %s", what, a.Summary())
		}
	}
}

// The architecture of firmware is that of option 93, and else that of its class.
func TestArch(t *testing.T) {
	t.Parallel()
	for class, c := range map[string]struct {
		option iana.Arch // 0: none
		want   []uint16
	}{
		"PXEClient:Arch:00007:UNDI:003000":  {0, []uint16{7}},
		"HTTPClient:Arch:00016:UNDI:003001": {0, []uint16{16}},
		"PXEClient:Arch:00000:UNDI:002001":  {iana.EFI_ARM64, []uint16{uint16(iana.EFI_ARM64)}},
		"PXEClient:Arch:":                   {},
		"PXEClient:Arch:7x:UNDI:003000":     {},
		"PXEClient:Arch:99999:UNDI:003000":  {},
		"PXEClient":                         {},
		"anaconda:Arch:00007":               {},
	} {
		mods := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class))}
		if c.option != 0 {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptClientArch(c.option)))
		}
		q, err := dhcpv4.FromBytes(ask(t, known, dhcpv4.MessageTypeDiscover, mods...))
		if err != nil {
			t.Fatal(err)
		}
		if got := client(q).Arch; !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", class, got, c.want)
		}
	}
}

func TestServe(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- (&Server{Hosts: one(host), Log: slog.New(slog.DiscardHandler)}).Serve(ctx, sentBack{server, client.LocalAddr()})
	}()
	for _, packet := range [][]byte{[]byte("nonsense"), ask(t, known, dhcpv4.MessageTypeDiscover)} {
		if _, err := client.WriteTo(packet, server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, mostPacket)
	n, _, err := client.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := dhcpv4.FromBytes(b[:n]); err != nil || a.MessageType() != dhcpv4.MessageTypeOffer {
		t.Errorf("%v, %v", a, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// sentBack sends everything to one address.
type sentBack struct {
	net.PacketConn
	to net.Addr
}

func (s sentBack) WriteTo(b []byte, _ net.Addr) (int, error) { return s.PacketConn.WriteTo(b, s.to) }

func FuzzAnswer(f *testing.F) {
	s := &Server{Hosts: one(host)}
	f.Add([]byte("nonsense"))
	f.Add(ask(&testing.T{}, known, dhcpv4.MessageTypeDiscover, dhcpv4.WithUserClass("iPXE", false)))
	f.Add(ask(&testing.T{}, known, dhcpv4.MessageTypeDiscover, dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 9)), dhcpv4.WithOption(dhcpv4.OptClassIdentifier(pxeClient)), dhcpv4.WithUserClass("iPXE", false)))
	f.Add(ask(&testing.T{}, known, dhcpv4.MessageTypeRequest, wants("10.0.0.7"), chose("10.0.0.1")))
	f.Fuzz(func(t *testing.T, packet []byte) {
		proxy := &Server{Hosts: s.Hosts, Proxy: true}
		pointed, to := proxy.Answer(t.Context(), packet)
		if pointed != nil && !host.reaches(to) {
			t.Errorf("a proxy answers to %s", to)
		}
		for _, b := range [][]byte{pointed, proxy.AnswerDirectly(t.Context(), packet)} {
			if b == nil {
				continue
			}
			if a, err := dhcpv4.FromBytes(b); err != nil || a.OpCode != dhcpv4.OpcodeBootReply || !a.YourIPAddr.IsUnspecified() || a.ClientHWAddr.String() != known {
				t.Errorf("a proxy answers %v, %v", a, err)
			}
		}
		b, to := s.Answer(t.Context(), packet)
		if b == nil {
			return
		}
		if a, err := dhcpv4.FromBytes(b); err != nil || a.OpCode != dhcpv4.OpcodeBootReply || !host.reaches(to) || a.ClientHWAddr.String() != known {
			t.Errorf("to %s: %v, %v", to, a, err)
		}
	})
}
