package snmp

import (
	"errors"
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"
)

// TestInteger reads and writes integers of other devices than switches.
func TestInteger(t *testing.T) {
	t.Parallel()
	a := newAgent(t, `
override -rw .1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.7 integer 2
override     .1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.8 uinteger 3
override     .1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.9 octet_str on
`)
	outlet := func(port string) Object {
		return Object{"1.3.6.1.4.1.318.1.1.12.3.3.1.1.4." + port, "outlet " + port}
	}
	pdu := func(sw *Switch) { sw.Name, sw.Kind = "rack1", "PDU" }
	for name, v := range map[string]Version{"version 1": V1, "version 2": V2} {
		s := a.session(version(v), pdu)
		for _, value := range []int{1, 2} {
			if err := s.SetInteger(t.Context(), outlet("7"), value); err != nil {
				t.Fatal(err)
			}
			if is, err := s.Integer(t.Context(), outlet("7")); err != nil || is != value {
				t.Errorf("%s: %d was written, %d is read, %v", name, value, is, err)
			}
		}
		if is, err := s.Integer(t.Context(), outlet("8")); err != nil || is != 3 {
			t.Errorf("%s: an unsigned 3 is %d, %v", name, is, err)
		}
		wantRefusal := func(err error, says ...string) {
			t.Helper()
			wantFault(t, err, append(says, "PDU rack1 ("+a.Address+")")...)
			if _, is := errors.AsType[Refusal](err); !is {
				t.Errorf("%v is no refusal", err)
			}
		}
		_, err := s.Integer(t.Context(), outlet("9"))
		wantRefusal(err, `has no integer for outlet 9 but "on"`)
		_, err = s.Integer(t.Context(), outlet("10"))
		wantRefusal(err, "has no outlet 10", "nothing at the OID 1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.10")
		wantRefusal(s.SetInteger(t.Context(), outlet("10"), 1), "refuses to set outlet 10 to 1")
		wantRefusal(a.session(version(v), pdu, community("public")).SetInteger(t.Context(), outlet("7"), 1),
			"refuses to set outlet 7 to 1", "allow its SNMP community to do so on the PDU")
	}
}

// TestIntegerOfAnother takes no answer for one to what was asked.
func TestIntegerOfAnother(t *testing.T) {
	t.Parallel()
	address := fake(t, func(p *gosnmp.SnmpPacket) {
		p.Variables = []gosnmp.SnmpPDU{{Name: ".1.3.6.1.4.1.1", Type: gosnmp.Integer, Value: 1}}
	})
	_, err := session(t, address).Integer(t.Context(), Object{"1.3.6.1.4.1.2", "outlet 2"})
	wantFault(t, err, "was asked for 1.3.6.1.4.1.2, and tells of .1.3.6.1.4.1.1")
}

// TestIntegerOfMuch repeats little of what an agent sends to people who did not ask for it.
func TestIntegerOfMuch(t *testing.T) {
	t.Parallel()
	const asked = ".1.3.6.1.4.1.2"
	long := ".1.3" + strings.Repeat(".1234567", 100)
	for what, v := range map[string]gosnmp.SnmpPDU{
		"of another": {Name: long, Type: gosnmp.Integer, Value: 1},
		"an OID":     {Name: asked, Type: gosnmp.ObjectIdentifier, Value: long},
		"text":       {Name: asked, Type: gosnmp.OctetString, Value: long},
	} {
		address := fake(t, func(p *gosnmp.SnmpPacket) { p.Variables = []gosnmp.SnmpPDU{v} })
		_, err := session(t, address).Integer(t.Context(), Object{asked, "outlet 2"})
		if wantFault(t, err, ".1.3.1234567.1234567"); len(err.Error()) > 300 {
			t.Errorf("%s: %d characters are told", what, len(err.Error()))
		}
	}
}

// TestBusy does not take for its last word what an agent says that cannot do it now.
func TestBusy(t *testing.T) {
	t.Parallel()
	for status, final := range map[gosnmp.SNMPError]bool{gosnmp.GenErr: false, gosnmp.ResourceUnavailable: false, gosnmp.CommitFailed: false, gosnmp.WrongValue: true} {
		s := session(t, fake(t, func(p *gosnmp.SnmpPacket) { p.Error = status }))
		_, err := s.Integer(t.Context(), Object{"1.3.6.1.4.1.2", "outlet 2"})
		for what, err := range map[string]error{"does not tell of outlet 2": err, "refuses to set outlet 2 to 1": s.SetInteger(t.Context(), Object{"1.3.6.1.4.1.2", "outlet 2"}, 1)} {
			wantFault(t, err, what, status.String())
			if _, is := errors.AsType[Refusal](err); is != final {
				t.Errorf("%v: a refusal: %t, want %t", err, is, final)
			}
		}
	}
}
