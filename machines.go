package main

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/config"
	"walt/netboot"
	"walt/netboot/initrd"
	"walt/vnode/lan"
	"walt/vnode/qemu"
)

// openMachines makes what machines need: their network, what they boot, and what
// runs them. No machine runs by that.
func (s *server) openMachines(c config.Config, trust ssh.PublicKey) (err error) {
	s.lan, err = lan.New(lan.Config{Subnet: c.Virtual.Net, Lookup: func(name string) (netip.Addr, bool) { return s.netboot.Find(name) }, Log: s.log})
	if err != nil {
		return err
	}
	s.netboot = netboot.New(netboot.Config{
		Store: s.store, Lab: s.lab, Library: s.library, Dir: filepath.Join(c.Data, "boot"),
		Agent: initrd.Agent, Trust: trust, Log: s.log, Now: time.Now,
	})
	s.qemu, err = qemu.New(qemu.Config{
		Dir: filepath.Join(c.Data, "machines"), Program: c.Virtual.QEMU,
		Lab: s.lab, Boots: s.netboot, LAN: s.lan, Log: s.log,
	})
	return err
}

// dial connects to a node, wherever it is.
func (s *server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if to, err := netip.ParseAddrPort(addr); err == nil && s.lan.Subnet.Contains(to.Addr()) {
		return s.lan.DialContext(ctx, to)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}
