package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"walt/config"
	"walt/ethernet"
	"walt/fault"
	"walt/netboot"
	"walt/netboot/boards"
	"walt/netboot/nic"
	"walt/nodes"
	"walt/pause"
	"walt/vnode/bridge"
)

// boardsAgain is after how long the server tries again to serve boards and PCs.
const boardsAgain = time.Minute

// serveBoards serves the boards and PCs on the interface of the configuration, if that
// names one, until ctx ends. What keeps it from that is in the log, and keeps nobody from
// logging in: it is tried again every minute.
func (s *server) serveBoards(ctx context.Context) error {
	if s.segment.Interface == "" {
		return nil
	}
	for told := ""; ; {
		err := s.serveInterface(ctx)
		if ctx.Err() != nil {
			return nil
		}
		why := fault.Line(err)
		trouble := "boards and PCs cannot boot from here: " + why
		s.boards.Unserved(fault.Failedf("%s", trouble))
		if why != told {
			s.log.Error("boards and PCs cannot boot from here; it is tried again every minute", "interface", s.segment.Interface, "err", err)
			told = why
			s.lab.Troubled(ctx, boards.BootTrouble, nodes.Trouble{Text: trouble})
		}
		if pause.For(ctx, boardsAgain) != nil {
			return nil
		}
	}
}

func (s *server) serveInterface(ctx context.Context) error {
	i, segment, err := openSegment(s.segment, s.virtual.Net)
	if err != nil {
		return err
	}
	if much := crowdedHere(segment); much != "" {
		s.log.Warn(much)
	}
	taking, stop := context.WithCancel(ctx)
	var lines sync.WaitGroup
	defer lines.Wait()
	defer stop()
	lines.Go(func() { s.serveLinesOf(taking, i.Listen, i.ListenUDP) })
	err = s.boards.Serve(ctx, i, segment, i.MAC)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return cmp.Or(boards.Openable(i, segment, i.MAC), err) // that tells all that is in the way, and not the first of it
}

// checkSegment looks whether the network of boards and PCs of a configuration is there.
func checkSegment(file string, c config.Config) error {
	if c.Network.Interface == "" {
		return nil
	}
	_, _, err := openSegment(c.Network, c.Virtual.Net)
	return located(file, err)
}

// checkNetwork looks whether a server could serve the boards and PCs of a configuration.
// It returns what it would do, and what does not keep it from that but may be wanted. file
// is where that configuration is from.
func checkNetwork(ctx context.Context, file string, c config.Config) (notes []string, err error) {
	if c.Network.Interface == "" {
		return nil, nil
	}
	i, segment, err := openSegment(c.Network, c.Virtual.Net)
	if err != nil {
		return nil, located(file, err)
	}
	who := "boards and PCs"
	err = boards.Check(ctx, i, segment, i.MAC)
	if c.Virtual.Network == config.InLab {
		who = "boards, PCs and machines"
		unable := bridge.Name(i.Name).Able()
		if f := fault.As(unable); f != nil {
			unable = located(file, misfit{"virtual.network", f})
		}
		err = errors.Join(err, unable)
	}
	if err != nil {
		return nil, err
	}
	serves := fmt.Sprintf("%s on %s, to which the server is %s", who, i.Name, i.Addr)
	if segment.DHCP == boards.Full {
		serves += fmt.Sprintf("; they get addresses from %s to %s", segment.First, segment.Last)
	} else {
		serves += "; another DHCP server gives them addresses"
	}
	notes = append(notes, serves)
	if segment.DHCP != boards.Full && boards.NobodyAnswers(ctx, i, segment, i.MAC) {
		notes = append(notes, fmt.Sprintf("but no DHCP server answers this host on %s; start one there, or have this one give addresses: dhcp = \"full\" in [network]", i.Name))
	}
	if lacking := boards.LackingLoaders(segment.Loaders); len(lacking) > 0 {
		notes = append(notes, fmt.Sprintf("but PCs whose firmware is not iPXE do not boot: %s has no %s; install the distribution's package ipxe, or name another directory in [network] loaders",
			segment.Loaders, strings.Join(lacking, " and no ")))
	}
	if much := crowdedHere(segment); much != "" {
		notes = append(notes, "but "+much)
	}
	if c.Virtual.Network == config.InLab && filtersBridges() {
		notes = append(notes, fmt.Sprintf("but what machines and boards send each other is dropped unless the firewall of this host lets it through from %s to %s (net.bridge.bridge-nf-call-iptables is 1)", i.Name, i.Name))
	}
	return notes, nil
}

// crowded is what to tell when a segment has room for more devices than the host
// remembers the MAC addresses of, "" when it has not: sending to those beyond fails now
// and then. limit is what the host says of that, see arp(7).
func crowded(segment boards.Segment, limit string) string {
	const name = "net.ipv4.neigh.default.gc_thresh"
	most, err := strconv.Atoi(strings.TrimSpace(limit))
	first, last := segment.First.As4(), segment.Last.As4()
	room := int(binary.BigEndian.Uint32(last[:])) - int(binary.BigEndian.Uint32(first[:])) + 1
	if err != nil || room <= most {
		return ""
	}
	return fmt.Sprintf("the network of boards and PCs has room for %d, and this host remembers at most %d neighbours; for more: sysctl -w %s1=%d %s2=%d %s3=%d",
		room, most, name, room, name, room+room/4, name, room+room/2)
}

// crowdedHere is crowded of this host.
func crowdedHere(segment boards.Segment) string {
	limit, err := os.ReadFile("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
	if err != nil { // another system
		return ""
	}
	return crowded(segment, string(limit))
}

// filtersBridges reports whether the firewall of this host sees what goes from port to port
// of a bridge, as docker has it.
func filtersBridges() bool {
	is, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && strings.TrimSpace(string(is)) == "1"
}

// misfit is what is wrong with the value of a key of the configuration, on this host.
type misfit struct {
	key  string
	what *fault.Error
}

func (m misfit) Error() string { return m.what.Msg }

// Unwrap has it be a fault.
func (m misfit) Unwrap() error { return m.what }

// located is an error in which misfits tell where in a file their keys are, as faults do
// of what is wrong in the file itself; without a file it stays what it is.
func located(file string, err error) error {
	m, is := errors.AsType[misfit](err)
	if !is || file == "" {
		return err
	}
	f := *m.what
	f.Msg = config.At(file, m.key) + ": " + f.Msg
	return &f
}

// waker wakes boards and PCs on the interface of a configuration.
type waker struct{ config.Network }

// Able is a fault when there is no such interface.
func (w waker) Able() error {
	if w.Interface == "" {
		return fault.Failedf("this server has no network of boards and PCs that magic packets could be sent to").
			WithHint("name its interface in the server's file: interface in [network] (see: help show network)")
	}
	return nil
}

// Wake sends a magic packet there.
func (w waker) Wake(mac ethernet.MAC) error {
	to, err := net.ParseMAC(string(mac))
	if err != nil {
		return err
	}
	i, err := nic.Open(w.Interface, w.Addr)
	if err != nil {
		return err
	}
	i.FirstPort, i.LastPort = w.FirstPort, w.LastPort
	return i.Wake(to)
}

// openSegment finds the interface of a configuration, and what that says of its network.
func openSegment(c config.Network, machines netip.Prefix) (*nic.Interface, boards.Segment, error) {
	key := "network.interface"
	i, err := nic.Open(c.Interface, netip.Addr{})
	if err == nil && c.Addr.IsValid() {
		key = "network.address"
		i, err = nic.Open(c.Interface, c.Addr)
	}
	if f := fault.As(err); f != nil {
		err = misfit{key, f}
	}
	if err != nil {
		return nil, boards.Segment{}, err
	}
	i.FirstPort, i.LastPort = c.FirstPort, c.LastPort
	segment, err := segmentOn(i, c, machines)
	return i, segment, err
}

// segmentOn is the network of a configuration on an interface.
func segmentOn(i *nic.Interface, c config.Network, machines netip.Prefix) (boards.Segment, error) {
	segment := boards.Segment{Net: i.Net, Server: i.Addr, DHCP: boards.DHCP(c.DHCP), First: c.First, Last: c.Last, Router: c.RouterAddr, DNS: c.DNSAddr, Domain: c.Domain, Loaders: c.Loaders}
	first, last := netboot.Hosts(i.Net)
	if c.Range == "" {
		segment.First, segment.Last = first, last
	}
	wrong := func(key string, f *fault.Error) (boards.Segment, error) {
		return segment, misfit{"network." + key, f}
	}
	switch {
	case i.Addr.IsLoopback():
		return wrong("interface", fault.Failedf("boards and PCs are not on the interface %s, which leads to this host itself", i.Name))
	case machines.Overlaps(i.Net):
		f := fault.Failedf("the network of the interface %s, %s, overlaps with that of machines, %s", i.Name, i.Net, machines)
		return wrong("interface", f.WithHint("give [virtual] subnet another one"))
	case c.RouterAddr.IsValid() && !i.Net.Contains(c.RouterAddr):
		return wrong("router", fault.Failedf("%s is not in the network of the interface %s, %s", c.RouterAddr, i.Name, i.Net))
	case segment.DHCP != boards.Full:
		return segment, nil
	case i.Net.Bits() > 30: // nobody but this host can be there
		f := fault.Failedf("the network of the interface %s, %s, has no room for devices", i.Name, i.Net)
		return wrong("interface", f.WithHint("give it a larger one: ip address add ADDRESS/24 dev %s", i.Name))
	}
	for _, ip := range []netip.Addr{segment.First, segment.Last} {
		if ip.Less(first) || last.Less(ip) {
			f := fault.Failedf("%s is no address of a device in the network of the interface %s, %s", ip, i.Name, i.Net)
			return wrong("range", f.WithHint("want two of those from %s to %s", first, last))
		}
	}
	for ip := segment.First; !segment.Gives(ip); ip = ip.Next() { // some are the server's, the router's
		if segment.Last.Less(ip) {
			f := fault.Failedf("%s has no address that is free for devices: the server, router and dns have theirs", c.Range)
			return wrong("range", f.WithHint("want two addresses of those from %s to %s, with more between them", first, last))
		}
	}
	return segment, nil
}
