//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"walt/netboot/instructions"
)

// params is what the kernel's command line says.
type params struct {
	mac  net.HardwareAddr // nil: any interface
	addr netip.Prefix
	gw   netip.Addr // invalid: none
	url  string
}

// parseCmdline reads the parameters. PXELINUX and others tell the interface as
// BOOTIF=01-MAC, which is used where there is no walt.mac.
func parseCmdline(line string) (p params, err error) {
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case instructions.ParamMAC:
			p.mac, err = net.ParseMAC(value)
		case "BOOTIF":
			if mac, err := net.ParseMAC(strings.TrimPrefix(strings.ReplaceAll(value, "-", ":"), "01:")); err == nil && p.mac == nil {
				p.mac = mac
			}
		case instructions.ParamIP:
			p.addr, err = netip.ParsePrefix(value)
		case instructions.ParamGW:
			p.gw, err = netip.ParseAddr(value)
		case instructions.ParamBoot:
			p.url = value
		}
		if err != nil {
			return p, fmt.Errorf("the kernel's command line has %s: %w", word, err)
		}
	}
	switch {
	case p.url == "":
		return p, fmt.Errorf("the kernel's command line has no %s=URL", instructions.ParamBoot)
	case !p.addr.IsValid() || !p.addr.Addr().Is4():
		return p, fmt.Errorf("the kernel's command line has no %s=IPv4/BITS", instructions.ParamIP)
	}
	return p, nil
}
