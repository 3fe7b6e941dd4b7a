package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"walt/ethernet"
)

// reply is an answer of a kind that says nothing yet, nil when there is none.
func (h Host) reply(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(h.Server.AsSlice())))
	if err != nil {
		return nil
	}
	return a
}

// client is who asks a question.
func client(q *dhcpv4.DHCPv4) Client {
	c := Client{MAC: ethernet.MAC(q.ClientHWAddr.String()), Name: q.HostName(), Class: q.ClassIdentifier(), Users: q.UserClass(), Discovers: q.MessageType() == dhcpv4.MessageTypeDiscover}
	if id := q.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) > 1 && id[0] == 0 {
		c.GUID = id[1:]
	}
	for _, a := range q.ClientArch() {
		c.Arch = append(c.Arch, uint16(a))
	}
	if a, told := archOf(c.Class); told && c.Arch == nil {
		c.Arch = []uint16{a}
	}
	return c
}

// archOf returns the architecture of firmware that its class names, as in
// PXEClient:Arch:00007:UNDI:003016, and whether it does.
func archOf(class string) (arch uint16, told bool) {
	words := strings.Split(class, ":")
	if len(words) < 3 || words[0] != "PXEClient" && words[0] != HTTPClient || words[1] != "Arch" {
		return 0, false
	}
	a, err := strconv.ParseUint(words[2], 10, 16)
	return uint16(a), err == nil
}

// answers is the kind of the answer to a packet; none: it is not for this server.
func (h Host) answers(q *dhcpv4.DHCPv4) dhcpv4.MessageType {
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeInform:
		return dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeRequest:
	default:
		return dhcpv4.MessageTypeNone
	}
	if chosen := q.ServerIdentifier(); chosen != nil && !chosen.Equal(h.Server.AsSlice()) {
		return dhcpv4.MessageTypeNone // another server
	}
	wanted := q.RequestedIPAddress()
	if wanted == nil {
		wanted = q.ClientIPAddr
	}
	if !wanted.Equal(h.IP.AsSlice()) {
		return dhcpv4.MessageTypeNak
	}
	return dhcpv4.MessageTypeAck
}

// tell puts into an answer what the client is to know.
func (h Host) tell(q, a *dhcpv4.DHCPv4) {
	a.ServerIPAddr = h.Server.AsSlice()
	a.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(h.Net.Bits(), 32)))
	a.UpdateOption(dhcpv4.OptHostName(h.Name))
	if h.Router.IsValid() {
		a.UpdateOption(dhcpv4.OptRouter(h.Router.AsSlice()))
	}
	if h.Time.IsValid() {
		a.UpdateOption(dhcpv4.OptNTPServers(h.Time.AsSlice()))
	}
	if h.Domain != "" {
		a.UpdateOption(dhcpv4.OptDomainName(h.Domain))
	}
	if h.DNS.IsValid() {
		a.UpdateOption(dhcpv4.OptDNS(h.DNS.AsSlice()))
	}
	if q.MessageType() != dhcpv4.MessageTypeInform {
		a.YourIPAddr = h.IP.AsSlice()
		a.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
	}
	if h.boots(q, a) && isIPXE(q) {
		a.UpdateOption(dhcpv4.OptGeneric(ipxeOptions, noProxy))
	}
}

// boots puts into an answer what the client boots, if there is something for it.
func (h Host) boots(q, a *dhcpv4.DHCPv4) bool {
	switch ipxe := isIPXE(q); {
	case h.Menu != "":
		a.UpdateOption(dhcpv4.OptClassIdentifier(pxeClient))
		a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, menu(h.Menu)))
		if id := q.Options.Get(dhcpv4.OptionClientMachineIdentifier); id != nil {
			a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
		}
	case ipxe && h.Script != "":
		a.UpdateOption(dhcpv4.OptBootFileName(h.Script))
	case !ipxe && h.Loader != "" && strings.HasPrefix(q.ClassIdentifier(), HTTPClient): // see UEFI 2.10, section 24.7
		a.UpdateOption(dhcpv4.OptClassIdentifier(HTTPClient))
		a.UpdateOption(dhcpv4.OptBootFileName(h.Loader))
	case !ipxe && h.Loader != "":
		// Each firmware looks at another of these places.
		a.BootFileName = h.Loader
		a.UpdateOption(dhcpv4.OptBootFileName(h.Loader))
		a.UpdateOption(dhcpv4.OptTFTPServerName(h.Server.String()))
	default:
		return false
	}
	return true
}

// ipxeOptions are options of iPXE in an option: number, length and value of each. noProxy
// is number 176: there is no second server that has the boot file, which iPXE would wait
// for. See https://ipxe.org/howto/dhcpd
var (
	ipxeOptions = dhcpv4.GenericOptionCode(175)
	noProxy     = []byte{176, 1, 1}
)

// HTTPClient is what the class of firmware begins with that loads by HTTP, and that of its
// servers.
const HTTPClient = "HTTPClient"

// isIPXE reports whether a client is iPXE, which says so in a form of its own.
func isIPXE(q *dhcpv4.DHCPv4) bool { return slices.Contains(q.UserClass(), "iPXE") }

// menu is option 43 with a menu of one entry, as PXE 2.1, table 2-1, has it: do as the
// first entry says without asking other servers; the prompt is "PXE", shown for no time;
// and the entry, which is local boot, has a text.
func menu(text string) []byte {
	b := []byte{6, 1, 3, 10, 4, 0, 'P', 'X', 'E', 9, byte(3 + len(text)), 0, 0, byte(len(text))}
	return append(append(b, text...), 255)
}

// reaches reports whether somebody on the network has an address, or all have it: others
// get nothing from here because a packet says that it comes from them.
func (h Host) reaches(to netip.AddrPort) bool {
	return to.Addr().IsUnspecified() || to.Addr() == everybody || h.Net.Contains(to.Addr())
}

// everybody is the address of all on a network.
var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// target is where an answer goes, RFC 2131, section 4.1. To a client without an address
// it goes to the one that it gets: the network must know whose that is without asking. To
// the ROM of a Raspberry Pi it always does, and to the zero address when another server
// gives one: boards have the same transaction number, and take what others are offered.
func (h Host) target(q, a *dhcpv4.DHCPv4) netip.AddrPort {
	all := netip.AddrPortFrom(everybody, clientPort)
	ip := a.YourIPAddr
	switch {
	case h.Menu != "" && q.GatewayIPAddr.IsUnspecified() && q.ClientIPAddr.IsUnspecified() && a.MessageType() != dhcpv4.MessageTypeNak:
	case !q.GatewayIPAddr.IsUnspecified():
		relay, _ := netip.AddrFromSlice(q.GatewayIPAddr.To4())
		return netip.AddrPortFrom(relay, serverPort)
	case a.MessageType() == dhcpv4.MessageTypeNak, ip.IsUnspecified() && q.ClientIPAddr.IsUnspecified():
		return all
	case !q.ClientIPAddr.IsUnspecified():
		ip = q.ClientIPAddr
	case q.IsBroadcast():
		return all
	}
	addr, _ := netip.AddrFromSlice(ip.To4())
	return netip.AddrPortFrom(addr, clientPort)
}
