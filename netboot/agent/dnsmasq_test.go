//go:build linux

package main

import (
	"bufio"
	"errors"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// dnsmasq is a server with the addresses that the last line of its input has. It says when it
// has them.
const dnsmasq = `until ip link set s0 up 2>/dev/null; do sleep 0.1; done
ip address add 192.168.7.2/24 dev s0
while read -r range; do
	[ -z "$pid" ] || { kill $pid; wait $pid; }
	dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=s0 --no-ping --pid-file= --dhcp-leasefile=/dev/null --log-facility=- --dhcp-range="$range" 2>&1 &
	pid=$!
done
kill $pid`

// The server of a site, which is dnsmasq, renews the lease of a machine, also when it has
// forgotten it, and denies it when it has no such address any more.
func TestRenewAtDnsmasq(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "dnsmasq", "busybox", "ip")
	if boottest.InNetwork(t) {
		return
	}
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
	}
	server := exec.Command("sh", "-c", dnsmasq)
	server.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	gives, err := server.StdinPipe()
	says, bad := server.StdoutPipe()
	if err := errors.Join(err, bad, server.Start()); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(says)
	t.Cleanup(func() {
		gives.Close()
		_ = server.Wait()
	})
	run("ip", "link", "add", "n0", "address", "52:54:00:00:00:01", "type", "veth", "peer", "name", "s0", "netns", strconv.Itoa(server.Process.Pid))
	run("ip", "link", "set", "n0", "up")
	give := func(addr string) {
		t.Helper()
		if _, err := io.WriteString(gives, addr+","+addr+",2m\n"); err != nil {
			t.Fatal(err)
		}
		for said.Scan() {
			if strings.Contains(said.Text(), "IP range "+addr) {
				return
			}
		}
		t.Fatalf("dnsmasq ended: %v", said.Err())
	}
	give("192.168.7.50")
	run("busybox", "udhcpc", "-i", "n0", "-q", "-n", "-f", "-s", "/bin/true", "-t", "60", "-T", "1")
	run("ip", "address", "add", "192.168.7.50/24", "dev", "n0")

	ip, at := netip.MustParseAddr("192.168.7.50"), netip.MustParseAddr("192.168.7.2")
	for what, whom := range map[string]netip.Addr{"anybody": {}, "the one that gave it": at} {
		if l, err := renew(ip, whom); err != nil || l.length != 2*time.Minute || l.renew <= 0 || l.renew > time.Minute || l.server != at {
			t.Errorf("%s renews %+v, %v", what, l, err)
		}
	}
	give("192.168.7.50")
	if l, err := renew(ip, netip.Addr{}); err != nil || l.length != 2*time.Minute {
		t.Errorf("one that has forgotten it renews %+v, %v", l, err)
	}
	give("192.168.7.70")
	if l, err := renew(ip, at); !errors.Is(err, errDenied) {
		t.Errorf("one that has another address renews %+v, %v", l, err)
	}
}
