//go:build linux

package main

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"walt/netboot/instructions"
)

// listener is where somebody listens, and what links of /proc/PID/fd say who does.
type listener struct {
	at     netip.AddrPort
	socket string
}

// listeners returns them from a table of /proc/net.
func listeners(table string) (all []listener) {
	const listen, inode = "0A", 9
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) < 4 || words[3] != listen {
			continue
		}
		digits, port, _ := strings.Cut(words[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if addr, ok := parseAddr(digits); ok && err == nil {
			l := listener{at: netip.AddrPortFrom(addr, uint16(n))}
			if len(words) > inode {
				l.socket = "socket:[" + words[inode] + "]"
			}
			all = append(all, l)
		}
	}
	return all
}

// answers reports whether connections to an address come there: one that listens on loopback
// alone is for others. Where it is not known which address that is, any counts.
func (l listener) answers(here netip.Addr) bool {
	at := l.at.Addr()
	return at.IsUnspecified() || at == here || !here.IsValid()
}

// parseAddr reads an address as tables of /proc/net have it: numbers of 32 bits, each in the
// order of the processor's bytes.
func parseAddr(digits string) (netip.Addr, bool) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}, false
	}
	for part := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(part, binary.BigEndian.Uint32(part))
	}
	addr, ok := netip.AddrFromSlice(b)
	return addr.Unmap(), ok
}

// connected returns the connections to an address, from a table of /proc/net. IPv4 is
// there in the order of the processor's bytes.
func connected(table string, to netip.Addr) (all []instructions.Conn) {
	const established = "01"
	ip := to.As4()
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) < 4 || words[3] != established {
			continue
		}
		_, local, _ := strings.Cut(words[1], ":")
		peer, remote, _ := strings.Cut(words[2], ":")
		from, err := strconv.ParseUint(local, 16, 16)
		port, bad := strconv.ParseUint(remote, 16, 16)
		addr, wrong := strconv.ParseUint(peer, 16, 32)
		if err == nil && bad == nil && wrong == nil && uint32(addr) == binary.NativeEndian.Uint32(ip[:]) {
			all = append(all, instructions.Conn{Local: uint16(from), Remote: uint16(port)})
		}
	}
	return all
}

// waiting returns the connections to the server beside that of the agent.
func waiting(agent net.Conn) []instructions.Conn {
	own, err := netip.ParseAddrPort(agent.RemoteAddr().String())
	if err != nil || !own.Addr().Unmap().Is4() {
		return nil
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil // nothing is worse for it
	}
	all := connected(string(table), own.Addr().Unmap())
	all = slices.DeleteFunc(all, func(c instructions.Conn) bool { return c.Remote == own.Port() })
	return all[:min(len(all), instructions.MostConns)]
}

// up notes that SSH answers. From here on time counts less than memory: machines are
// small, and there is little garbage.
func (m *machine) up() {
	m.step(instructions.Up)
	debug.SetGCPercent(20)
}

// boardName is what the device tree calls the board, as Raspberry Pi 4 Model B Rev 1.4; ""
// without one.
func boardName() string {
	b, err := os.ReadFile("/proc/device-tree/model")
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b[:min(len(b), 100)]), "\x00\n")
}
