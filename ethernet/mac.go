// Package ethernet names the devices of the lab's network by their hardware
// addresses. It sends nothing. Its one surprising rule: a MAC has one spelling,
// so that it can be a key, whatever notation it was typed in.
package ethernet

import (
	"crypto/rand"
	"fmt"
	"net"

	"walt/fault"
)

// MAC is the address of one device, six octets as aa:bb:cc:dd:ee:ff. The zero
// MAC is none.
type MAC string

// ParseMAC parses the address of one device (not of a group of them), in any of
// the usual notations.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || hw[0]&1 != 0 {
		return "", fault.Usagef("invalid MAC address %q", s).WithHint("it looks like b8:27:eb:00:00:02")
	}
	return MAC(hw.String()), nil
}

// RandomMAC makes an address for a virtual node, under the prefix that QEMU and
// KVM use (52:54:00).
func RandomMAC() MAC {
	var b [3]byte
	rand.Read(b[:]) // never fails, see its documentation
	return MAC(fmt.Sprintf("52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]))
}
