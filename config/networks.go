package config

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// domainForm is a domain of DNS. With the name of a node before it, it must be a name, too:
// of at most 253 characters.
var domainForm = regexp.MustCompile(`^` + partForm + `(\.` + partForm + `)*$`)

const longestDomain = 253 - 64

func (k *checker) network(n *Network) {
	n.Loaders = k.path(n.Loaders)
	_, section := k.lines["network"]
	_, none := k.lines["network.interface"] // it is said that there is none
	if n.Interface == "" && (section && !none || *n != base().Network) {
		k.wrong("network.interface", "is missing; want the network interface that boards and PCs are on, as in \"eth1\"")
	}
	if !slices.Contains([]string{"full", "proxy", "off"}, n.DHCP) {
		k.wrong("network.dhcp", `%q is nothing to do of DHCP; want "full" to give addresses, "proxy" to tell only what to boot, beside a server that gives them, or "off"`, n.DHCP)
	}
	if n.Domain != "" && (!domainForm.MatchString(n.Domain) || len(n.Domain) > longestDomain) {
		k.wrong("network.domain", `%q is no domain; want one in lower case, as in "lab.example"`, n.Domain)
	}
	if n.Range != "" && n.DHCP != "full" {
		k.wrong("network.range", "is for dhcp = \"full\" alone, which gives addresses; remove it")
	}
	n.FirstPort, n.LastPort = k.ports("network.tftp_ports", n.TFTPPorts)
	n.Addr = k.address("network.address", n.Address)
	n.RouterAddr, n.DNSAddr = k.address("network.router", n.Router), k.address("network.dns", n.DNS)
	if n.Range == "" {
		return
	}
	first, last, _ := strings.Cut(n.Range, "-")
	var bad [2]error
	n.First, bad[0] = netip.ParseAddr(strings.TrimSpace(first))
	n.Last, bad[1] = netip.ParseAddr(strings.TrimSpace(last))
	switch {
	case errors.Join(bad[:]...) != nil || !n.First.Is4() || !n.Last.Is4():
		k.wrong("network.range", `%q is no range; want two addresses of IPv4, as in "192.168.7.100-192.168.7.199"`, n.Range)
	case n.Last.Less(n.First):
		k.wrong("network.range", `%q ends before it begins; want the lower address first`, n.Range)
	}
}

// ports are FIRST-LAST, none for "".
func (k *checker) ports(key, s string) (first, last uint16) {
	if s == "" {
		return 0, 0
	}
	const least = 1024 // below are ports of services
	begin, end, _ := strings.Cut(s, "-")
	from, bad := strconv.ParseUint(strings.TrimSpace(begin), 10, 16)
	to, worse := strconv.ParseUint(strings.TrimSpace(end), 10, 16)
	if errors.Join(bad, worse) != nil || from < least || to < from {
		k.wrong(key, `%q are no ports; want two from %d on, as in "30000-30099"`, s, least)
		return 0, 0
	}
	return uint16(from), uint16(to)
}

// address is one of IPv4, the zero Addr for "".
func (k *checker) address(key, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		k.wrong(key, `%q is no IPv4 address; want one as in "192.168.7.1"`, s)
	}
	return a
}

func (k *checker) virtual(v *Virtual) {
	if !slices.Contains([]string{"auto", "qemu", "simulated"}, v.Kind) {
		k.wrong("virtual.kind", `%q is no kind of virtual nodes; want "auto", "qemu" or "simulated"`, v.Kind)
	}
	if v.Boot != "direct" && v.Boot != "pxe" {
		k.wrong("virtual.boot", `%q is no way for machines to boot; want "direct" or "pxe"`, v.Boot)
	}
	net, err := netip.ParsePrefix(v.Subnet)
	if err != nil || !net.Addr().Is4() || !net.Addr().IsPrivate() || net != net.Masked() || net.Bits() > 29 {
		k.wrong("virtual.subnet", `%q is not a private IPv4 network; want one as in "10.217.0.0/20"`, v.Subnet)
	}
	v.Net = net
	if v.Memory != "" {
		if v.RAM = mebibytes(v.Memory); v.RAM == 0 {
			k.wrong("virtual.memory", `%q is not a size; want one as in "8G" or "512M"`, v.Memory)
		}
	}
	if v.CPUs < 0 || v.CPUs > 256 {
		k.wrong("virtual.cpus", "%d is not a number of processors; want 1 to 256, or 0 for as many as there are", v.CPUs)
	}
	if v.Max < 0 {
		k.wrong("virtual.max", "%d is too small; want at least 1, or 0 for any number", v.Max)
	}
}

// machines checks which network machines are on.
func (k *checker) machines(v *Virtual, n Network) {
	if v.Network == InServer {
		return
	}
	switch {
	case v.Network != InLab:
		k.wrong("virtual.network", `%q is no network of machines; want "private" for one inside of the server, or "lab" for that of boards and PCs`, v.Network)
	case n.Interface == "":
		k.wrong("virtual.network", `"lab" is the network of boards and PCs, and there is none; name a bridge in [network] interface, as in "lab0"`)
	case n.DHCP != "full":
		k.wrong("virtual.network", `"lab" is for dhcp = "full" below [network] alone: machines know their addresses before they start`)
	case v.NAT:
		k.wrong("virtual.nat", `is for network = "private" alone; the way out of the lab's network is [network] router`)
	}
	v.Net = netip.Prefix{}
}

// mebibytes is a size as in 512M or 8G, 0 when it is none.
func mebibytes(s string) int {
	number, gigabytes := strings.CutSuffix(strings.ToUpper(s), "G")
	if !gigabytes {
		var is bool
		if number, is = strings.CutSuffix(strings.ToUpper(s), "M"); !is {
			return 0
		}
	}
	n, err := strconv.ParseUint(number, 10, 24)
	switch {
	case err != nil:
		return 0
	case gigabytes:
		return int(n) << 10
	}
	return int(n)
}
