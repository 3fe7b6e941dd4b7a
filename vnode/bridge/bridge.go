// Package bridge connects machines to a bridge of this host: each by a tap, an interface
// whose other end is an open file. It starts no machines, and gives nobody an address. Its
// one surprising rule: nothing has to be cleared up. A tap is there as long as somebody has
// its file open, and that is the machine: it stays when the server ends, and goes when the
// machine does.
package bridge

import (
	"strings"

	"walt/ethernet"
)

// Name is that of a bridge of this host.
type Name string

// TapOf is what the tap of the machine with a MAC address is called: for those who write
// rules for it.
func TapOf(mac ethernet.MAC) string { return "vm-" + strings.ReplaceAll(string(mac), ":", "") }
