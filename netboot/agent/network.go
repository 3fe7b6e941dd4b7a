//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// linkWait is for how long the boot waits for its link, and says what it waits for: the port
// of a switch that looks for loops first passes nothing for 30 to 50 s. Then it goes on
// without: what is asked is asked again until it is answered.
const linkWait = 2 * time.Minute

// findInterface waits for the interface with the address, whose driver may come late,
// as on USB.
func findInterface(mac net.HardwareAddr, d *drivers, log *record) net.Interface {
	for try := 0; ; try++ {
		all, err := net.Interfaces()
		for _, i := range all {
			_, virtual := os.Stat("/sys/class/net/" + i.Name + "/device") // bridges and the like have none
			if virtual == nil && len(i.HardwareAddr) == 6 && (mac == nil || bytes.Equal(i.HardwareAddr, mac)) {
				return i
			}
		}
		if try == 100 { // 5 s
			log.logf("no interface has the address %v; there are %s, %v", mac, names(all), err)
		}
		time.Sleep(50 * time.Millisecond)
		d.coldplug()
	}
}

func names(all []net.Interface) string {
	var words []string
	for _, i := range all {
		words = append(words, i.Name+" "+i.HardwareAddr.String())
	}
	return strings.Join(words, ", ")
}

// bringUp gives an interface its address, and the gateway to the machine.
func bringUp(i net.Interface, p params) error {
	if err := setFlags("lo"); err != nil {
		return err
	}
	if err := setFlags(i.Name); err != nil {
		return err
	}
	addr := p.addr.Addr().As4()
	// As rtnetlink(7) has them: struct ifaddrmsg and rtmsg, and attributes.
	message := append([]byte{unix.AF_INET, byte(p.addr.Bits()), 0, unix.RT_SCOPE_UNIVERSE}, u32(uint32(i.Index))...)
	message = append(message, attribute(unix.IFA_LOCAL, addr[:])...)
	message = append(message, attribute(unix.IFA_ADDRESS, addr[:])...)
	message = append(message, attribute(unix.IFA_BROADCAST, broadcast(p.addr))...)
	if err := netlink(unix.RTM_NEWADDR, message); err != nil {
		return fmt.Errorf("give %s to %s: %w", p.addr, i.Name, err)
	}
	if !p.gw.IsValid() {
		return nil
	}
	gw := p.gw.As4()
	message = []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	message = append(message, attribute(unix.RTA_GATEWAY, gw[:])...)
	message = append(message, attribute(unix.RTA_OIF, u32(uint32(i.Index)))...)
	if err := netlink(unix.RTM_NEWROUTE, message); err != nil {
		return fmt.Errorf("route over %s: %w", p.gw, err)
	}
	return nil
}

// waitLink waits until something is at the other end of the cable.
func waitLink(i net.Interface, log *record) {
	defer log.tell(i.Name + " has no link: is its cable in, and the port of its switch on?")()
	for end := time.Now().Add(linkWait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(path.Join("/sys/class/net", i.Name, "carrier")); err == nil && len(b) > 0 && b[0] == '1' {
			return
		}
	}
}

// setFlags brings an interface up.
func setFlags(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("flags of %s: %w", name, err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// netlink sends one request to the kernel's network, and waits for its answer. What is
// there already is no error.
func netlink(kind uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ne := binary.NativeEndian
	b := ne.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = ne.AppendUint16(b, kind)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = append(b, make([]byte, 8)...) // sequence and port
	if err := unix.Sendto(fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || ne.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return unix.EPROTO
	}
	if errno := -int32(ne.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 && unix.Errno(errno) != unix.EEXIST {
		return unix.Errno(errno)
	}
	return nil
}

// attribute is a struct rtattr with its data, all of which have four bytes here.
func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	return append(binary.NativeEndian.AppendUint16(b, kind), data...)
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// broadcast is the last address of a network.
func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | uint32(1<<(32-p.Bits())-1)
	return binary.BigEndian.AppendUint32(nil, last)
}
