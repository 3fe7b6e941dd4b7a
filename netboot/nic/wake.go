package nic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// everybody is the MAC address of all devices on a network.
var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// wakeOnLAN is the protocol of Ethernet frames that hold a magic packet and nothing else.
const wakeOnLAN = 0x0842

// magic is the packet that has a network card switch its computer on: six times 0xff, and
// its MAC address sixteen times, wherever in a frame that is. AMD's white paper 20213 has it.
func magic(mac net.HardwareAddr) []byte {
	return append(bytes.Clone(everybody), bytes.Repeat(mac, 16)...)
}

// Wake sends a magic packet to everybody on the interface: in a frame of its own, and by UDP,
// since there are devices that look into one of them alone. It fails if neither can be sent.
func (i *Interface) Wake(mac net.HardwareAddr) error {
	packet := magic(mac)
	framed := i.broadcast(wakeOnLAN, packet)
	sent := i.sendToAll(packet)
	if framed != nil && sent != nil {
		return fmt.Errorf("send a magic packet: %w", errors.Join(framed, sent))
	}
	return nil
}

// sendToAll sends a packet of UDP to all addresses of the network.
func (i *Interface) sendToAll(packet []byte) error {
	c, err := i.dialUDP(netip.AddrPortFrom(lastOf(i.Net), discard))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(packet)
	return err
}

// lastOf is the last address of a network, which means all of them.
func lastOf(on netip.Prefix) netip.Addr {
	first := on.Masked().Addr().As4()
	hosts := uint32(1<<(32-on.Bits()) - 1)
	binary.BigEndian.PutUint32(first[:], binary.BigEndian.Uint32(first[:])|hosts)
	return netip.AddrFrom4(first)
}
