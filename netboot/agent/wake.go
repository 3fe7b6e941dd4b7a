//go:build linux

package main

import (
	"errors"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leaveAwake has the network card that the machine boots over listen for magic packets while the
// machine is off: most drivers switch that off unless somebody asks for it, and what the server
// switched off stays off then. Somebody may ask otherwise later: it is done anew before the server
// has the machine power off.
func (m *machine) leaveAwake() {
	i, err := net.InterfaceByIndex(m.card) // images give it other names
	if err != nil {
		return // images take it to other name spaces, too
	}
	deaf, begun, err := listenAsleep(i.Name)
	switch {
	case err != nil:
		m.log.logf("have packets wake %s: %v", i.Name, err)
	case begun:
		m.log.logf("packets wake %s when the machine is off", i.Name)
	}
	m.set(func() { m.deaf = deaf })
}

// wakeInfo is struct ethtool_wolinfo, and wakeRequest struct ifreq with a pointer to one.
type (
	wakeInfo struct {
		command   uint32
		able, set uint32 // bits of what wakes it
		_         [6]byte
	}
	wakeRequest struct {
		name [unix.IFNAMSIZ]byte
		info unsafe.Pointer
		_    [24 - unix.SizeofPtr]byte
	}
)

// listenAsleep has magic packets wake an interface, beside whatever does already. Deaf is that
// none can, begun that none did before.
func listenAsleep(name string) (deaf, begun bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, false, err
	}
	defer unix.Close(fd)
	info := &wakeInfo{command: unix.ETHTOOL_GWOL}
	switch err := ethtool(fd, name, info); {
	case errors.Is(err, unix.EOPNOTSUPP):
		return true, false, nil
	case err != nil:
		return false, false, err
	case info.able&unix.WAKE_MAGIC == 0:
		return true, false, nil
	case info.set&unix.WAKE_MAGIC != 0:
		return false, false, nil
	}
	info.command = unix.ETHTOOL_SWOL
	info.set |= unix.WAKE_MAGIC
	err = ethtool(fd, name, info)
	return err != nil, err == nil, err
}

// ethtool has the driver of an interface do a command.
func ethtool(fd int, name string, info *wakeInfo) error {
	r := wakeRequest{info: unsafe.Pointer(info)}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}
