package snmp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// forwarding is a line of a forwarding table: on which port a MAC was seen.
func forwarding(column string, mac byte, value int) string {
	return fmt.Sprintf("override %s.184.39.235.0.0.%d integer %d\n", column, mac, value)
}

func TestNeighbours(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	fmt.Fprint(&lines, `
override .1.3.6.1.2.1.31.1.1.1.1.10105 octet_str "gi1/0/5"
override .1.3.6.1.2.1.17.1.4.1.2.5 integer 10105
override .1.3.6.1.2.1.17.1.4.1.2.6 integer 10106
override .1.0.8802.1.1.2.1.3.7.1.3.2 octet_str "2"
override .1.0.8802.1.1.2.1.3.7.1.3.3 octet_str "10106"
override .1.0.8802.1.1.2.1.3.7.1.3.10105 octet_str "gi1/0/5"
override .1.0.8802.1.1.2.1.3.7.1.3.7 octet_str "the seventh"
override .1.0.8802.1.1.2.1.4.1.1.4.0.2.1 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.2.1 octet_str 0xb827eb000002
override .1.0.8802.1.1.2.1.4.1.1.4.77.3.1 integer 7
override .1.0.8802.1.1.2.1.4.1.1.5.77.3.1 octet_str "no MAC"
override .1.0.8802.1.1.2.1.4.1.1.4.0.10105.9 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.10105.9 octet_str 0xb827eb000005
override .1.0.8802.1.1.2.1.4.1.1.4.0.7.2 integer 5
override .1.0.8802.1.1.2.1.4.1.1.5.0.7.2 octet_str 0x010a000007
override .1.0.8802.1.1.2.1.4.1.1.6.0.2.1 integer 3
override .1.0.8802.1.1.2.1.4.1.1.7.0.2.1 octet_str 0xb827eb000002
override .1.0.8802.1.1.2.1.4.1.1.6.77.3.1 integer 3
override .1.0.8802.1.1.2.1.4.1.1.7.77.3.1 octet_str 0xb827eb000003
override .1.0.8802.1.1.2.1.4.1.1.6.0.7.2 integer 3
override .1.0.8802.1.1.2.1.4.1.1.7.0.7.2 octet_str 0xb827eb000007
`)
	lines.WriteString(forwarding(dot1dTpFdbPort, 2, 2)) // known from LLDP as well
	lines.WriteString(forwarding(dot1dTpFdbStatus, 2, 3))
	lines.WriteString(forwarding(dot1dTpFdbPort, 8, 8)) // an agent may leave out the status
	lines.WriteString(forwarding(dot1dTpFdbPort, 9, 9))
	lines.WriteString(forwarding(dot1dTpFdbStatus, 9, statusSelf))
	lines.WriteString(forwarding(dot1dTpFdbPort, 10, 0)) // the port is not known
	lines.WriteString(forwarding(dot1qTpFdbPort+".1", 8, 8))
	lines.WriteString(forwarding(dot1qTpFdbPort+".20", 11, 8))
	lines.WriteString(forwarding(dot1qTpFdbPort+".20", 2, 24)) // elsewhere too
	for mac := range 40 {
		lines.WriteString(forwarding(dot1dTpFdbPort, byte(100+mac), 24))
	}
	want := []Neighbour{
		{2, "b8:27:eb:00:00:02", LLDP, 1},
		{5, "b8:27:eb:00:00:05", LLDP, 1},
		{6, "b8:27:eb:00:00:03", LLDP, 1},
		{7, "b8:27:eb:00:00:07", LLDP, 1},
		{8, "b8:27:eb:00:00:08", Bridge, 2},
		{8, "b8:27:eb:00:00:0b", Bridge, 2},
		{24, "b8:27:eb:00:00:02", Bridge, 41},
	}
	for mac := range 40 {
		want = append(want, Neighbour{24, fmt.Sprintf("b8:27:eb:00:00:%02x", 100+mac), Bridge, 41})
	}
	a := newAgent(t, lines.String())
	for _, v := range []Version{V1, V2} {
		got, err := a.session(version(v)).Neighbours(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("version %d: got %v, %v\nwant %v", v, got, err, want)
		}
	}
	for _, n := range want {
		if n.Uplink() != (n.Port == 24) {
			t.Errorf("%v: uplink is %v", n, n.Uplink())
		}
	}
}

func TestNoNeighbours(t *testing.T) {
	t.Parallel()
	s := newAgent(t, "").session()
	if got, err := s.Neighbours(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := s.Ports(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("ports are %v, %v", got, err)
	}
}
