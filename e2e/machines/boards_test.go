package machines

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// inNetwork is boottest.InNetwork with loopback, for tests of boards and PCs.
func inNetwork(t *testing.T) (outside bool) {
	t.Helper()
	boottest.Need(t, "docker-registry", "busybox", "ssh", "ip", "dnsmasq")
	boottest.SmallKernel(t) // which is downloaded, outside
	if boottest.InNetwork(t) {
		return true
	}
	run(t, "ip", "link", "set", "lo", "up")
	return false
}

// run runs a program, which must succeed.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// newSegment makes a network for boards and PCs, of which the host is 192.168.7.1.
func newSegment(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "add", "lab0", "type", "bridge")
	run(t, "ip", "address", "add", "192.168.7.1/24", "dev", "lab0")
	run(t, "ip", "link", "set", "lab0", "up")
}

// segment is the configuration of a server for it.
const segment = "[network]\ninterface = \"lab0\"\nrange = \"192.168.7.100-192.168.7.199\"\ndomain = \"lab.example\"\n"

// What firmware of a PC is in QEMU: a BIOS with a network card that has iPXE, and UEFI,
// which knows the network itself.
var (
	ipxe = []string{"-device", "virtio-net-pci,netdev=n,mac="}
	uefi = []string{"-bios", "/usr/share/ovmf/OVMF.fd", "-device", "virtio-net-pci,netdev=n,romfile=,mac="}
)

// pc is a PC of the test's own that is on the network: it has no disk, and does what its
// firmware does. It returns the file of its console.
func pc(t *testing.T, name, mac string, firmware []string) (console string) {
	t.Helper()
	last := len(firmware) - 1
	return plug(t, name, "qemu-system-x86_64", append(slices.Clone(firmware[:last]), firmware[last]+mac)...)
}

// plug starts a machine on the network, as a program of QEMU whose device has the network
// n. It returns the file of its console, at whose keyboard a typist may sit.
func plug(t *testing.T, name, program string, args ...string) (console string) {
	t.Helper()
	tap(t, name)
	console = filepath.Join(t.TempDir(), "console")
	c := exec.Command(program, append([]string{
		"-nodefaults", "-display", "none", "-m", "512", "-chardev", "socket,id=c,server=on,wait=off,path=" + console + keyboard + ",logfile=" + console, "-serial", "chardev:c", "-netdev", "tap,id=n,ifname=" + name + ",script=no,downscript=no",
	}, args...)...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if b, err := os.ReadFile(console); t.Failed() {
			t.Logf("%s: %v\n%s", name, err, b[max(0, len(b)-4000):])
		}
	})
	return console
}

// keyboard is what the name of the keyboard at a console ends with.
const keyboard = ".keyboard"

// typist is who sits at a console, and types what it returns is called with.
func typist(t *testing.T, console string) func(words string) {
	t.Helper()
	c, err := net.Dial("unix", console+keyboard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() { // ends with the connection: what is shown must be read
		_, _ = io.Copy(io.Discard, c)
	}()
	return func(words string) {
		t.Helper()
		if _, err := io.WriteString(c, words); err != nil {
			t.Fatal(err)
		}
	}
}

// tap makes an end of the network for a machine.
func tap(t *testing.T, name string) {
	t.Helper()
	run(t, "ip", "tuntap", "add", name, "mode", "tap")
	run(t, "ip", "link", "set", name, "master", "lab0", "up")
}

// plugIn switches a PC on that nobody told the server of, in a network of the test's own:
// it becomes a free node by itself, which is called pc-4f2a1c, and boots the default image
// of its model. More images are of users, and more lines for the section [virtual]. It
// returns nil where nothing is left to do.
func plugIn(t *testing.T, firmware []string, images map[string]map[string]string, virtual ...string) *world {
	t.Helper()
	if inNetwork(t) {
		return nil
	}
	newSegment(t)
	return plugInto(t, strings.Join(append(virtual, segment), "\n"), firmware, images)
}

// plugInto does so where the network is there, with a configuration of the server.
func plugInto(t *testing.T, segment string, firmware []string, images map[string]map[string]string) *world {
	t.Helper()
	images["waltplatform/pc-x86-64-default"] = map[string]string{"etc/name": "default\n"}
	w := newWorld(t, images, segment)
	pc(t, "tap0", "52:54:00:4f:2a:1c", firmware)
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	w.does("alice", "node wait pc-4f2a1c")
	if out := w.does("alice", "node run pc-4f2a1c hostname; cat /etc/name"); out != "pc-4f2a1c\ndefault\n" {
		t.Errorf("it is %q", out)
	}
	return w
}

// A PC goes on while the server is killed, reboots by itself into another image, and is
// renamed.
func TestPC(t *testing.T) {
	t.Parallel()
	w := plugIn(t, ipxe, map[string]map[string]string{"alice/blue": {"etc/name": "blue\n"}})
	if w == nil {
		return
	}
	for name, want := range map[string]string{"server": "192.168.7.1", "pc-4f2a1c.lab.example": "192.168.7.100", "192.168.7.100": "pc-4f2a1c.lab.example"} {
		if out := w.does("alice", "node run pc-4f2a1c nslookup "+name); !strings.Contains(out, want) {
			t.Errorf("%s is %s, want %s", name, out, want)
		}
	}
	if out := w.does("alice", "node show pc-4f2a1c --json"); !regexp.MustCompile(`"step":"root","at":"[^"]+","bytes":[1-9]`).MatchString(out) {
		t.Errorf("nothing is told of what was sent of its root: %s", out)
	}
	before := w.bootID("alice", "pc-4f2a1c")
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait pc-4f2a1c")
	if after := w.bootID("alice", "pc-4f2a1c"); after != before {
		t.Error("a restart of the server rebooted the node")
	}
	w.does("alice", "image clone lab:alice/blue")
	w.does("alice", "node boot pc-4f2a1c blue")
	w.does("alice", "node wait pc-4f2a1c")
	if out := w.does("alice", "node run pc-4f2a1c cat /etc/name"); out != "blue\n" {
		t.Errorf("with another image it is %q", out)
	}

	// It goes on under another name, for which its host key is certified, too.
	s := w.newTools("alice")
	s.known(false)
	s.tells("alice", "pc-4f2a1c", "true", certified("pc-4f2a1c"), letIn)
	w.does("alice", "device rename pc-4f2a1c bench")
	s.tells("alice", "bench", "true", certified("bench"), letIn)
}

// A PC whose firmware is UEFI gets iPXE first.
func TestUEFI(t *testing.T) {
	t.Parallel()
	plugIn(t, uefi, map[string]map[string]string{})
}

// One that loads by HTTP does so, too.
func TestUEFIByHTTP(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}}, segment)
	console := pc(t, "tap0", "52:54:00:4f:2a:1c", append([]string{"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no"}, uefi...))
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	w.does("alice", "node wait pc-4f2a1c")
	shown, err := os.ReadFile(console)
	if err != nil || !strings.Contains(string(shown), "Start HTTP Boot over IPv4") || strings.Contains(string(shown), "Start PXE over IPv4") {
		t.Errorf("its firmware did not load by HTTP: %.3000s, %v", shown, err)
	}
}

// A PC that waits for its image goes on to ask while nobody answers, and boots when the
// server is back and has that.
func TestPCAsksOn(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{}, segment)
	pc(t, "tap0", "52:54:00:4f:2a:1c", ipxe)
	w.until("alice", "device show --json", `"step":"loader"`)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "192.168.7.1:80")
	if err != nil {
		t.Fatal(err)
	}
	err = l.(*net.TCPListener).SetDeadline(time.Now().Add(boottest.Wait))
	if err == nil {
		_, err = l.Accept()
	}
	if err := errors.Join(err, l.Close(), w.Start()); err != nil { // it is not answered, and looks for its address
		t.Fatal(err)
	}
	push(t, w.registry, "waltplatform/pc-x86-64-default", map[string]string{})
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	w.does("alice", "node wait pc-4f2a1c")
}

// A server that would give away the addresses of another one says so, and gives none.
func TestOtherDHCP(t *testing.T) {
	t.Parallel()
	if inNetwork(t) {
		return
	}
	newSegment(t)
	other := otherServer(t, "--dhcp-range=192.168.7.50,192.168.7.60")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}}, "network = \"lab\"", segment)
	const begins, others = "boards and PCs boot from here", "another DHCP server answers there: 192.168.7.2 (52:54:00:00:00:02)"
	if log := w.untilLogged(others); strings.Contains(log, begins) {
		t.Errorf("it gives addresses: %s", log)
	}
	w.does("alice", "node create vm1 --model pc-x86-64") // which has one, that the other server may give away
	w.until("alice", "node show vm1", "boards and PCs cannot begin to boot from here: "+others)
	if all := taps(t); len(all) > 0 {
		t.Errorf("there is %q", all)
	}
	if os.Getenv("WALT_MACHINES") != "long" {
		return
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.untilLogged(begins)
	w.does("alice", "node reboot vm1")
	w.does("alice", "node wait vm1")
}

// One that is connected later is told with its addresses, in the log and beside the
// devices; what is served goes on.
func TestOtherDHCPLater(t *testing.T) {
	t.Parallel()
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{}, segment)
	w.untilLogged("boards and PCs boot from here")
	if out, err := w.SSH("alice", nil, "device", "show").CombinedOutput(); err != nil || strings.Contains(string(out), "Network:") {
		t.Errorf("before it is there: %s, %v", out, err)
	}
	inVLAN := newROM(t, "tap9", "52:54:00:00:00:99") // is no business of this network
	inVLAN.vlan = 9
	offer := append([]byte{2, 1, 6, 235: 0}, 0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, 192, 168, 7, 9, 255)
	if err := inVLAN.send(net.HardwareAddr{255, 255, 255, 255, 255, 255}, net.IPv4(192, 168, 7, 9), net.IPv4bcast, 67, 68, offer); err != nil {
		t.Fatal(err)
	}
	otherServer(t, addresses)
	asks(t, "52:54:00:00:00:55") // which the other one answers, too
	const words = "another DHCP server answers beside this one, from which devices may get addresses: 192.168.7.2 (52:54:00:00:00:02)"
	w.until("alice", "log show --type network", words)
	if out, err := w.SSH("alice", nil, "device", "show").CombinedOutput(); err != nil || !strings.Contains(string(out), "\nNetwork: "+words+".\n") {
		t.Errorf("beside the devices: %s, %v", out, err)
	}
	if log, err := os.ReadFile(w.Log()); err != nil || strings.Contains(string(log), "192.168.7.9") {
		t.Errorf("one in a VLAN is told: %s, %v", log, err)
	}
	if asks(t, "52:54:00:00:00:56"); !strings.Contains(w.does("alice", "device show --json"), "52:54:00:00:00:56") {
		t.Error("who asks for an address is no device any more")
	}
}

// asks has a client on the network ask for an address, as one that hears what is sent to
// everybody.
func asks(t *testing.T, mac string) {
	t.Helper()
	if !isGiven(t, mac) {
		t.Fatalf("%s gets no address", mac)
	}
}

// isGiven reports whether such a client gets one.
func isGiven(t *testing.T, mac string) bool {
	t.Helper()
	name := "c" + mac[15:]
	run(t, "ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", name+"p")
	run(t, "ip", "link", "set", name, "up")
	run(t, "ip", "link", "set", name+"p", "master", "lab0", "up")
	return exec.Command("busybox", "udhcpc", "-i", name, "-B", "-q", "-n", "-f", "-s", "/bin/true", "-t", "20", "-T", "1").Run() == nil
}

// otherServer is a server of DHCP on the network, 192.168.7.2, with some more options.
func otherServer(t *testing.T, options ...string) *exec.Cmd {
	t.Helper()
	other := exec.Command("sh", "-c", `until ip link set other1 up 2>/dev/null; do sleep 0.1; done
ip address add 192.168.7.2/24 dev other1
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=other1 --log-facility=- --pid-file= --dhcp-leasefile=/dev/null "$@"`, "sh")
	other.Args = append(other.Args, options...)
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	said, err := other.StderrPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	run(t, "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1", "address", "52:54:00:00:00:02", "netns", strconv.Itoa(other.Process.Pid))
	run(t, "ip", "link", "set", "other0", "master", "lab0", "up")
	var all []string
	for lines := bufio.NewScanner(said); !strings.Contains(lines.Text(), "IP range"); all = append(all, lines.Text()) {
		if !lines.Scan() {
			t.Fatalf("the other server does not start: %q", all)
		}
	}
	go func() { // ends with the other server
		_, _ = io.Copy(io.Discard, said)
	}()
	return other
}

// untilLogged waits until the server has logged some words, and returns its log.
func (w *world) untilLogged(words string) string {
	w.t.Helper()
	for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
		log, err := os.ReadFile(w.Log())
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(log), words) {
			return string(log)
		}
		if time.Now().After(end) {
			w.t.Fatalf("it does not log %q in time: %s", words, log)
		}
	}
}
