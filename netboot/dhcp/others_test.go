package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// redirected is a socket whose packets to everybody go to one server.
type redirected struct {
	net.PacketConn
	to net.Addr
}

func (r redirected) WriteTo(b []byte, _ net.Addr) (int, error) { return r.PacketConn.WriteTo(b, r.to) }

// Another server is found though its first answer is lost, and what is no answer to this
// question is not taken for one.
func TestOthers(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the server's socket
		defer close(done)
		b := make([]byte, mostPacket)
		for asked := 0; ; asked++ {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			q, err := dhcpv4.FromBytes(b[:n])
			if err != nil || !q.IsBroadcast() || q.MessageType() != dhcpv4.MessageTypeDiscover {
				t.Errorf("it is asked %v, %v", q, err)
				return
			}
			if asked == 0 {
				continue
			}
			stranger := dhcpv4.TransactionID{1, 2, 3, 4}
			for _, id := range []dhcpv4.TransactionID{stranger, q.TransactionID, q.TransactionID} {
				a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))
				if err != nil {
					t.Error(err)
					return
				}
				ip := net.IPv4(192, 0, 2, 1)
				if a.TransactionID = id; id == stranger {
					ip = net.IPv4(192, 0, 2, 99)
				}
				a.UpdateOption(dhcpv4.OptServerIdentifier(ip))
				if _, err := server.WriteTo(a.ToBytes(), from); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	found, err := Others(t.Context(), redirected{client, server.LocalAddr()}, net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil || !slices.Equal(found, []netip.Addr{netip.MustParseAddr("192.0.2.1")}) {
		t.Errorf("other servers: %v, %v", found, err)
	}
	server.Close()
	<-done
}
