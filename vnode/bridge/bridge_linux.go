package bridge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"walt/ethernet"
	"walt/fault"
)

// taps is where the kernel makes them, see Documentation/networking/tuntap.rst.
const taps = "/dev/net/tun"

// Able returns why no machine can be connected to the bridge, in words for who runs the
// server; nil when one can. It makes a tap for that, which is connected to nothing.
func (b Name) Able() error {
	if _, err := b.find(); err != nil {
		return err
	}
	tap, err := open("vm-%d") // the kernel counts
	if err != nil {
		return err
	}
	return tap.Close()
}

// Connect makes the tap of the machine with a MAC address, connects it to the bridge, and
// returns its file, which is for the machine. Those of the packets that may be left for
// others to finish have a header that says so (IFF_VNET_HDR), as QEMU finds out itself.
func (b Name) Connect(mac ethernet.MAC) (_ *os.File, err error) {
	tap, err := open(TapOf(mac))
	if err != nil {
		return nil, err
	}
	if err := b.join(mac); err != nil {
		tap.Close()
		return nil, err
	}
	return tap, nil
}

// Reconnect connects the tap of a machine that runs to the bridge again, from which somebody
// may have taken it. The error is os.ErrNotExist when the machine has none any more.
func (b Name) Reconnect(mac ethernet.MAC) error {
	if _, err := net.InterfaceByName(TapOf(mac)); err != nil {
		return fmt.Errorf("%s: %w", TapOf(mac), os.ErrNotExist)
	}
	return b.join(mac)
}

// find returns the interface of the name, which must be a bridge.
func (b Name) find() (*net.Interface, error) {
	i, err := net.InterfaceByName(string(b))
	switch {
	case err != nil:
		return nil, fault.Failedf("there is no bridge %s", b)
	case !b.bridges():
		return nil, fault.Failedf("%s is no bridge, which machines in the lab's network are connected to", b).
			WithHint("make a bridge with %s in it, give that the address, and name it in [network] interface\nhow to: help show network", b)
	}
	return i, nil
}

// bridges reports whether the interface is a bridge, as its driver says.
func (b Name) bridges() bool {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(s)
	info, err := unix.IoctlGetEthtoolDrvinfo(s, string(b))
	return err == nil && unix.ByteSliceToString(info.Driver[:]) == "bridge"
}

// open makes a tap, which goes when its file is closed by all who have it.
func open(name string) (*os.File, error) {
	fd, err := unix.Open(taps, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fault.Failedf("there is no %s, by which machines are connected to a bridge", taps).
			WithHint("load the module for it: modprobe tun; in a container, give it that device")
	case errors.Is(err, os.ErrPermission):
		return nil, fault.Failedf("this process may not open %s, by which machines are connected to a bridge", taps).
			WithHint("on most systems everybody may: chmod 666 %s", taps)
	case err != nil:
		return nil, unmade(err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, unmade(err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// unmade is why a tap cannot be made, or be connected; nil when it is.
func unmade(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrPermission) {
		return fault.Failedf("this process may not connect machines to a bridge").
			WithHint("run it as root, or with the capability CAP_NET_ADMIN")
	}
	return fmt.Errorf("connect a machine to a bridge: %w", err)
}

// join makes the tap of a machine a port of the bridge, which is for the MAC address of the
// machine alone, and sets it up. The bridge keeps its own: else it had the lowest one of its
// ports, while others know it by another one.
func (b Name) join(mac ethernet.MAC) error {
	on, err := b.find()
	if err != nil {
		return err
	}
	tap, err := net.InterfaceByName(TapOf(mac))
	if err != nil {
		return unmade(err)
	}
	machine, err := net.ParseMAC(string(mac))
	if err != nil {
		return err
	}
	own := slices.Clone(machine)
	own[0] = 0xfe // of this end: the machine has the other one, and the lowest one of all ports may become the bridge's
	keeps := on.HardwareAddr
	if len(keeps) == 0 { // it has had ports, and has none now
		keeps = slices.Clone(own)
		keeps[0] = 0x02 // a locally administered one, as that of the tap
	}
	return unmade(errors.Join(
		setLink(on.Index, attribute{unix.IFLA_ADDRESS, keeps}), // once it was set it stays
		setLink(tap.Index, attribute{unix.IFLA_ADDRESS, own}, attribute{unix.IFLA_MTU, number(on.MTU)}, attribute{unix.IFLA_MASTER, number(on.Index)}),
		bind(tap.Index, machine),
	))
}
