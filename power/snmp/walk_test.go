package snmp

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
)

// picky passes requests on to an agent and its answers back, unless answer makes
// something else of one: nil, false is silence.
func picky(t *testing.T, to string, answer func(p *gosnmp.SnmpPacket) (instead *gosnmp.SnmpPacket, pass bool)) (address string) {
	t.Helper()
	return listen(t, func(_ int, packet []byte) []byte {
		p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(packet)
		if err != nil {
			return nil
		}
		instead, pass := answer(p)
		if instead != nil {
			instead.PDUType, instead.NonRepeaters, instead.MaxRepetitions = gosnmp.GetResponse, 0, 0
			out, err := instead.MarshalMsg()
			if err != nil {
				return nil
			}
			return out
		}
		if !pass {
			return nil
		}
		c, err := net.Dial("udp", to)
		if err != nil {
			return nil
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		buffer := make([]byte, 65536)
		if _, err := c.Write(packet); err != nil {
			return nil
		}
		size, err := c.Read(buffer)
		if err != nil {
			return nil
		}
		return buffer[:size]
	})
}

// TestPickyAgents has agents that cannot answer requests for many rows at once:
// each is asked for fewer, and not for as many again.
func TestPickyAgents(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	failing := func(status gosnmp.SNMPError) func(p *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
		return func(p *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
			p.Error = status
			return p
		}
	}
	for name, c := range map[string]struct {
		most  uint32
		wrong func(p *gosnmp.SnmpPacket) *gosnmp.SnmpPacket // nil is silence
	}{
		"silent above 10":     {10, nil},
		"silent without next": {1, nil},
		"tooBig above 10":     {10, failing(gosnmp.TooBig)},
		"tooBig":              {1, failing(gosnmp.TooBig)},
		"genErr":              {1, failing(gosnmp.GenErr)},
		"nothing": {1, func(p *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
			p.Variables = nil
			return p
		}},
		"loops": {1, func(p *gosnmp.SnmpPacket) *gosnmp.SnmpPacket {
			v := gosnmp.SnmpPDU{Name: oidOf(adminEnable, outlet{1, 2}), Type: gosnmp.Integer, Value: 1}
			p.Variables = []gosnmp.SnmpPDU{v, v}
			return p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var refused atomic.Int32
			s := session(t, picky(t, a.Address, func(p *gosnmp.SnmpPacket) (*gosnmp.SnmpPacket, bool) {
				if p.PDUType != gosnmp.GetBulkRequest || p.MaxRepetitions <= c.most {
					return nil, true
				}
				refused.Add(1)
				if c.wrong == nil {
					return nil, false
				}
				return c.wrong(p), false
			}), func(sw *Switch) {
				if c.wrong == nil {
					hasty(sw)
				}
			})
			for range 2 {
				ports, err := s.Ports(t.Context())
				if err != nil || len(ports) != 2 || !ports[0].On || ports[1].On {
					t.Fatalf("ports are %v, %v", ports, err)
				}
			}
			if most := int32(len(sizes)); refused.Load() >= most {
				t.Errorf("%d requests were for too much", refused.Load())
			}
		})
	}
}

// TestUnsorted has an agent whose table is in no order, but ends.
func TestUnsorted(t *testing.T) {
	t.Parallel()
	after := map[string]string{
		adminEnable: oidOf(adminEnable, outlet{1, 3}), oidOf(adminEnable, outlet{1, 3}): oidOf(adminEnable, outlet{1, 2}),
		oidOf(adminEnable, outlet{1, 2}): detectionStatus + ".1.2",
	}
	s := session(t, fake(t, func(p *gosnmp.SnmpPacket) {
		next := after[p.Variables[0].Name]
		p.Variables[0] = gosnmp.SnmpPDU{Name: next, Type: gosnmp.Integer, Value: 1}
		if next == "" {
			p.Variables[0] = gosnmp.SnmpPDU{Name: ".1.3.6.1.9", Type: gosnmp.EndOfMibView}
		}
	}))
	ports, err := s.Ports(t.Context())
	if err != nil || len(ports) != 2 || !ports[1].On {
		t.Errorf("ports are %v, %v", ports, err)
	}
}

// TestOnlyVersion1 has an agent that knows no other version.
func TestOnlyVersion1(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts+`
com2sec old 127.0.0.1 ancient
group oldgroup v1 old
view all included .1
access oldgroup "" v1 noauth exact all all none
`)
	s := a.session(community("ancient"), version(V1))
	if err := s.SetPower(t.Context(), 2, false); err != nil {
		t.Error(err)
	}
	_, err := a.session(community("ancient"), hasty).Power(t.Context(), 2)
	wantFault(t, err, "a switch that knows only version 1 (snmp.version=1)")
}
