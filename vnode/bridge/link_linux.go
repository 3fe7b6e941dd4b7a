package bridge

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// attribute is one of what a message is about, as rtnetlink(7) has it.
type attribute struct {
	kind  uint16
	value []byte
}

// number is a value of 32 bits.
func number(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// setLink gives an interface some attributes, and sets it up.
func setLink(index int, all ...attribute) error {
	return ask(unix.RTM_NEWLINK, 0, head(unix.AF_UNSPEC, index, unix.IFF_UP), all)
}

// bind has a port of a bridge let frames of one MAC address in, and no other port have that
// (Linux 5.18; earlier ones do not know the former, and ignore it).
func bind(index int, hw []byte) error {
	put := binary.NativeEndian
	neighbour := append(number(unix.AF_BRIDGE), number(index)...) // struct ndmsg
	neighbour = append(put.AppendUint16(neighbour, unix.NUD_NOARP), unix.NTF_MASTER|sticky, 0)
	err := ask(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, neighbour, []attribute{{unix.NDA_LLADDR, hw}})
	if err != nil {
		return err
	}
	port := attributes(nil, []attribute{{unix.IFLA_BRPORT_LEARNING, []byte{0}}, {unix.IFLA_BRPORT_LOCKED, []byte{1}}})
	return ask(unix.RTM_SETLINK, 0, head(unix.AF_BRIDGE, index, 0), []attribute{{unix.IFLA_PROTINFO | unix.NLA_F_NESTED, port}})
}

// sticky is the flag of a MAC address that stays with its port: NTF_STICKY of neighbour.h.
const sticky = 0x40

// head is what messages about an interface begin with, struct ifinfomsg: flags are those
// that it gets.
func head(family byte, index int, flags uint32) []byte {
	put := binary.NativeEndian
	b := append([]byte{family, 0, 0, 0}, number(index)...)
	return put.AppendUint32(put.AppendUint32(b, flags), flags)
}

// ask has the kernel do what a message says, which begins so, and has attributes.
func ask(kind, flags uint16, begin []byte, all []attribute) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("speak to the kernel of networks: %w", err)
	}
	defer unix.Close(s)
	if err := unix.Sendto(s, message(kind, flags, begin, all), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("set an interface: %w", err)
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, b, 0)
	if err != nil {
		return fmt.Errorf("set an interface: %w", err)
	}
	const header, code = unix.SizeofNlMsghdr, 4
	if n < header+code || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("set an interface: the kernel answers % x", b[:n])
	}
	if failed := -int32(binary.NativeEndian.Uint32(b[header:])); failed != 0 {
		return fmt.Errorf("set an interface: %w", syscall.Errno(failed))
	}
	return nil
}

// message is one of netlink(7), which the kernel answers.
func message(kind, flags uint16, begin []byte, all []attribute) []byte {
	put := binary.NativeEndian
	b := put.AppendUint32(nil, 0) // its length
	b = put.AppendUint16(b, kind)
	b = put.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	b = append(b, make([]byte, 8)...) // its number, and whose it is
	b = attributes(append(b, begin...), all)
	put.PutUint32(b, uint32(len(b)))
	return b
}

// attributes appends attributes to a message.
func attributes(b []byte, all []attribute) []byte {
	put := binary.NativeEndian
	for _, a := range all {
		b = put.AppendUint16(b, uint16(unix.SizeofRtAttr+len(a.value)))
		b = put.AppendUint16(b, a.kind)
		b = append(b, a.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
