package bridge

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// attribute is one of an interface, as rtnetlink(7) has it.
type attribute struct {
	kind  uint16
	value []byte
}

// number is a value of 32 bits.
func number(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// setLink gives an interface some attributes, and sets it up: RTM_NEWLINK of rtnetlink(7).
func setLink(index int, all ...attribute) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("speak to the kernel of networks: %w", err)
	}
	defer unix.Close(s)
	if err := unix.Sendto(s, linkRequest(index, all), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
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

// linkRequest is the message of setLink.
func linkRequest(index int, all []attribute) []byte {
	put := binary.NativeEndian
	b := put.AppendUint32(nil, 0) // its length
	b = put.AppendUint16(b, unix.RTM_NEWLINK)
	b = put.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...) // the number of the message, and whose it is
	b = append(b, make([]byte, 4)...) // any family and type
	b = put.AppendUint32(b, uint32(index))
	b = put.AppendUint32(b, unix.IFF_UP)
	b = put.AppendUint32(b, unix.IFF_UP) // this flag alone
	for _, a := range all {
		b = put.AppendUint16(b, uint16(unix.SizeofRtAttr+len(a.value)))
		b = put.AppendUint16(b, a.kind)
		b = append(b, a.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	put.PutUint32(b, uint32(len(b)))
	return b
}
