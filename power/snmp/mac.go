package snmp

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"
)

// macIn returns the MAC in a value, or "". The six bytes of one are so only
// where the agent says that it is a MAC: they could be a name. The text of one,
// as "b8:27:eb:00:00:02", "b8-27-eb-00-00-02" or "b827.eb00.0002", cannot be
// anything else; the twelve digits alone may be.
func macIn(value []byte, saidSo bool) string {
	if saidSo && len(value) == 6 {
		return macOf(value)
	}
	text := strings.Trim(string(value), "\x00 \"")
	if mac, err := net.ParseMAC(text); err == nil && (saidSo || strings.ContainsAny(text, ":-.")) {
		return macOf(mac)
	}
	if !saidSo {
		return ""
	}
	octets := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '-' || r == ' ' })
	if len(octets) == 6 { // with a space between, or without leading zeros
		for i, o := range octets {
			octets[i] = strings.Repeat("0", max(0, 2-len(o))) + o
		}
	}
	digits := strings.TrimPrefix(strings.ToLower(strings.Join(octets, "")), "0x")
	mac, err := hex.DecodeString(digits)
	if err != nil {
		return ""
	}
	return macOf(mac)
}

// macAt returns the MAC that an index ends in, or "": six numbers as a rule, by
// some agents the characters of its text.
func macAt(index []int) string {
	octets := make([]byte, len(index))
	for i, n := range index {
		octets[i] = byte(n)
		if n < 0 || n > 255 {
			octets[i] = 0 // of a VLAN; no MAC's text has it
		}
	}
	for _, length := range []int{len("b8:27:eb:00:00:02"), len("b827.eb00.0002")} {
		if len(octets) < length {
			continue
		}
		if mac := macIn(octets[len(octets)-length:], false); mac != "" {
			return mac
		}
	}
	if len(index) < 6 {
		return ""
	}
	for _, n := range index[len(index)-6:] {
		if n < 0 || n > 255 {
			return ""
		}
	}
	return macOf(octets[len(octets)-6:])
}

// macOf is an address of six bytes as text; anything else is "".
func macOf(mac []byte) string {
	if len(mac) != 6 {
		return ""
	}
	return net.HardwareAddr(mac).String()
}

func key(index []int) string { return fmt.Sprint(index) }
