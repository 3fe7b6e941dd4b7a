package machines

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// addresses are what the other server gives.
const addresses = "--dhcp-range=192.168.7.50,192.168.7.60"

// besides has a PC boot beside the server of DHCP that the network has, which has some
// options; the server here does what is said of DHCP.
func besides(t *testing.T, dhcp string, firmware []string, options ...string) *world {
	t.Helper()
	if inNetwork(t) {
		return nil
	}
	newSegment(t)
	otherServer(t, append(options, addresses)...)
	w := plugInto(t, "[network]\ninterface = \"lab0\"\ndhcp = \""+dhcp+"\"\n", firmware, map[string]map[string]string{})
	if out := w.does("alice", "device show"); !strings.Contains(out, " 192.168.7.5") && !strings.Contains(out, " 192.168.7.60") {
		t.Errorf("it has no address of the other server: %s", out)
	}
	return w
}

// A PC has its address from the server of the site, and learns from this one what to boot.
// It goes on while that is killed.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := besides(t, "proxy", ipxe)
	if w == nil {
		return
	}
	before := w.bootID("alice", "pc-4f2a1c")
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait pc-4f2a1c")
	if after := w.bootID("alice", "pc-4f2a1c"); after != before {
		t.Error("a restart of the server rebooted the node")
	}
}

// So does one whose firmware is UEFI.
func TestProxyUEFI(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	besides(t, "proxy", uefi)
}

// The server of the site says also what to boot, as topic network has it.
func TestServerOfTheSite(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	besides(t, "off", uefi,
		"--dhcp-match=set:ipxe,175", "--dhcp-match=set:uefi,option:client-arch,7", "--dhcp-match=set:uefi,option:client-arch,9",
		"--dhcp-boot=tag:ipxe,http://192.168.7.1/ipxe", "--dhcp-boot=tag:!ipxe,tag:uefi,snponly.efi,,192.168.7.1", "--dhcp-boot=tag:!ipxe,tag:!uefi,undionly.kpxe,,192.168.7.1")
}

// Its firmware is iPXE, which asks for no other loader.
func TestServerOfTheSiteWithIPXE(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	besides(t, "off", ipxe, "--dhcp-boot=http://192.168.7.1/ipxe")
}

// The only address that the server of the site has, for two minutes, stays that of a PC: it
// renews its lease. When that server gives it another one, it goes on, and that is told.
func TestLeaseOfTheSite(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	other := otherServer(t, "--no-ping", "--dhcp-range=192.168.7.50,192.168.7.50,2m")
	w := plugInto(t, "[network]\ninterface = \"lab0\"\ndhcp = \"proxy\"\n", ipxe, map[string]map[string]string{})
	<-time.After(150 * time.Second) // more than the lease that its loader took
	if isGiven(t, "52:54:00:00:00:55") {
		t.Error("its lease is over: another one got its address")
	}
	if out, err := w.SSH("alice", nil, "device", "show").CombinedOutput(); err != nil || strings.Contains(string(out), "Network:") {
		t.Errorf("device show: %s, %v", out, err)
	}

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	_ = exec.Command("ip", "link", "delete", "other0").Run() // it may be gone with the other one
	otherServer(t, "--no-ping", "--dhcp-range=192.168.7.70,192.168.7.70,2m")
	w.until("alice", "log show --type network", "pc-4f2a1c goes on with the address 192.168.7.50, which the DHCP server of the site does not leave it: reboot it")
	w.does("alice", "node run pc-4f2a1c true")
}
