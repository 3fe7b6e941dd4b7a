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
override .1.0.8802.1.1.2.1.3.7.1.3.12 octet_str "-5"
override .1.0.8802.1.1.2.1.4.1.1.4.0.12.1 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.12.1 octet_str 0xb827eb00000c
override .1.0.8802.1.1.2.1.4.1.1.4.0.0.1 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.0.1 octet_str 0xb827eb00000d
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
		{12, "b8:27:eb:00:00:0c", LLDP, 1}, // which calls itself -5; that on 0 is nowhere
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

// TestTextualMACs has an agent that gives MACs as texts.
func TestTextualMACs(t *testing.T) {
	t.Parallel()
	index := ""
	for _, b := range []byte("b8:27:eb:00:00:09") {
		index += fmt.Sprintf(".%d", b)
	}
	s := newAgent(t, twoPorts+`
override .1.0.8802.1.1.2.1.4.1.1.4.0.2.1 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.2.1 octet_str "b8:27:eb:00:00:02"
override .1.0.8802.1.1.2.1.4.1.1.6.0.2.1 integer 3
override .1.0.8802.1.1.2.1.4.1.1.7.0.2.1 octet_str "B8-27-EB-00-00-02"
override .1.0.8802.1.1.2.1.4.1.1.4.0.3.1 integer 7
override .1.0.8802.1.1.2.1.4.1.1.5.0.3.1 octet_str "b827.eb00.0003"
override .1.0.8802.1.1.2.1.4.1.1.6.0.3.1 integer 5
override .1.0.8802.1.1.2.1.4.1.1.7.0.3.1 octet_str "eth0"
override .1.0.8802.1.1.2.1.4.1.1.4.0.44.1 integer 4
override .1.0.8802.1.1.2.1.4.1.1.5.0.44.1 octet_str "b827eb000004"
override .1.0.8802.1.1.2.1.3.7.1.3.44 octet_str 0x001b21aa0001
override .1.0.8802.1.1.2.1.3.7.1.4.44 octet_str "the third"
override .1.3.6.1.2.1.31.1.1.1.1.10103 octet_str "the third"
override `+dot1dTpFdbPort+index+` integer 2
`).session()
	got, err := s.Neighbours(t.Context())
	want := []Neighbour{
		{2, "b8:27:eb:00:00:02", LLDP, 2},
		{2, "b8:27:eb:00:00:09", Bridge, 2},
		{3, "b8:27:eb:00:00:03", LLDP, 2},
		{3, "b8:27:eb:00:00:04", LLDP, 2},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
}

func TestMACs(t *testing.T) {
	t.Parallel()
	const mac = "b8:27:eb:00:00:02"
	for _, c := range []struct {
		value  string
		saidSo bool
		want   string
	}{
		{"\xb8\x27\xeb\x00\x00\x02", true, mac},
		{"\xb8\x27\xeb\x00\x00\x02", false, ""},
		{"no MAC", false, ""},
		{"b8:27:eb:00:00:02", true, mac},
		{"B8:27:EB:00:00:02", false, mac},
		{"b8-27-eb-00-00-02\x00", false, mac},
		{"b827.eb00.0002", false, mac},
		{"b827eb000002", true, mac},
		{"b827eb000002", false, ""},
		{"B8 27 EB 00 00 02", true, mac},
		{"b8:27:eb:0:0:2", true, mac},
		{"0xb827eb000002", true, mac},
		{"\"b8:27:eb:00:00:02\"", true, mac},
		{"b8:27:eb:00:00:02:00:00", true, ""},
		{"b8:27:eb:00:00", true, ""},
		{"b8:27:eb:00:00:0g", true, ""},
		{"gi1/0/5", true, ""},
		{"", true, ""},
	} {
		if got := macIn([]byte(c.value), c.saidSo); got != c.want {
			t.Errorf("%q, %v: %q, want %q", c.value, c.saidSo, got, c.want)
		}
	}
	ascii := func(text string, before ...int) []int {
		for _, b := range []byte(text) {
			before = append(before, int(b))
		}
		return before
	}
	for _, c := range []struct {
		index []int
		want  string
	}{
		{[]int{184, 39, 235, 0, 0, 2}, mac},
		{[]int{1, 184, 39, 235, 0, 0, 2}, mac},
		{[]int{4000, 184, 39, 235, 0, 0, 2}, mac},
		{ascii(mac), mac},
		{ascii(mac, 4000, 17), mac},
		{ascii("b827.eb00.0002", 14), mac},
		{[]int{184, 39, 235, 0, 0, 256}, ""},
		{[]int{184, 39, 235}, ""},
	} {
		if got := macAt(c.index); got != c.want {
			t.Errorf("%v: %q, want %q", c.index, got, c.want)
		}
	}
}
