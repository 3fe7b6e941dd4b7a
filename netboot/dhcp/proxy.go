package dhcp

import (
	"context"
	"net"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// ServeProxy answers firmware that has its address from another server and asks this one
// what it boots, PXE 2.1, section 2.2: conn is a socket of port 4011. It ends as Serve does.
func (s *Server) ServeProxy(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, func(q *dhcpv4.DHCPv4, from net.Addr) answer {
		return answer{packet: s.answerDirectly(ctx, q), to: from}
	})
}

// answerDirectly returns the answer to a question that came to port 4011, nil when there is
// none: it goes where the question came from.
func (s *Server) answerDirectly(ctx context.Context, q *dhcpv4.DHCPv4) []byte {
	if q.MessageType() != dhcpv4.MessageTypeRequest && q.MessageType() != dhcpv4.MessageTypeInform {
		return nil
	}
	a, _ := s.point(ctx, q, dhcpv4.MessageTypeAck)
	if a == nil {
		return nil
	}
	return a.ToBytes()
}

// noDiscovery are options of PXE in option 43: number, length and value of each. Number 6
// says how boot servers are found: bit 3, not at all, the answer has the file.
var noDiscovery = []byte{6, 1, 8, 255}

// pxeClient is the class of firmware that boots over the network, and of its servers.
const pxeClient = "PXEClient"

// point is the answer of a proxy: what to boot, to firmware that looks for that. Others
// are no business of this server, on a network that is another one's.
func (s *Server) point(ctx context.Context, q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, Host) {
	byHTTP := strings.HasPrefix(q.ClassIdentifier(), HTTPClient)
	if !byHTTP && !strings.HasPrefix(q.ClassIdentifier(), pxeClient) {
		return nil, Host{}
	}
	h, known := s.Hosts.Host(ctx, client(q))
	if !known {
		return nil, h
	}
	a := h.reply(q, kind)
	if a == nil || !h.boots(q, a) {
		return nil, h
	}
	a.ServerIPAddr = h.Server.AsSlice()
	if h.Menu != "" || byHTTP {
		return a, h
	}
	a.UpdateOption(dhcpv4.OptClassIdentifier(pxeClient))
	a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, noDiscovery))
	if id := q.Options.Get(dhcpv4.OptionClientMachineIdentifier); id != nil {
		a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	}
	return a, h
}
