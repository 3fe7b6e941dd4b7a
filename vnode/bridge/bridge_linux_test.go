package bridge

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot/boottest"
)

// inNetwork is boottest.InNetwork with the bridge lab0.
func inNetwork(t *testing.T) (outside bool) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		t.Skip("it needs root, and ip")
	}
	if boottest.InNetwork(t) {
		return true
	}
	run(t, "ip", "link", "add", "lab0", "type", "bridge")
	run(t, "ip", "link", "set", "lab0", "up")
	return false
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

const (
	mac = "52:54:00:4f:2a:1c"
	own = "vm-5254004f2a1c"
)

// A tap is on the bridge as long as somebody has its file open, and leaves nothing behind;
// the bridge keeps its MAC address and its MTU.
func TestTap(t *testing.T) {
	if inNetwork(t) {
		return
	}
	run(t, "ip", "link", "set", "lab0", "mtu", "4000")
	before := link(t, "lab0")
	tap, err := Name("lab0").Connect(mac)
	if err != nil {
		t.Fatal(err)
	}
	if is := link(t, own); !connected(t) || is.HardwareAddr.String() != "fe:54:00:4f:2a:1c" {
		t.Errorf("it is not connected: %+v", is)
	}
	if after := link(t, "lab0"); after.HardwareAddr.String() != before.HardwareAddr.String() || after.MTU != before.MTU {
		t.Errorf("the bridge was %+v, and is %+v", before, after)
	}
	if _, err := Name("lab0").Connect(mac); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a second one of its name: %v", err)
	}

	// A machine that runs has it open, too.
	machine, err := unix.Dup(int(tap.Fd()))
	if err == nil {
		err = tap.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "set", own, "nomaster", "down")
	if err := Name("lab0").Reconnect(mac); err != nil {
		t.Error(err)
	}
	if !connected(t) {
		t.Error("it is not connected again")
	}
	unix.Close(machine)
	if _, err := net.InterfaceByName(own); err == nil {
		t.Error("it is left")
	}
	if err := Name("lab0").Reconnect(mac); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is gone: %v", err)
	}
}

// says reports whether an error is a fault that says so.
func says(err error, what string) bool {
	f := fault.As(err)
	return f != nil && f.Msg == what
}

// connected reports whether the tap is a port of the bridge, and up.
func connected(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("ip", "link", "show", "master", "lab0", "up").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), " "+own+": ")
}

// A bridge that has lost its last port has no MAC address. It gets one, which stays when a
// machine comes with a lower one.
func TestBridgeWithoutMAC(t *testing.T) {
	if inNetwork(t) {
		return
	}
	run(t, "ip", "link", "add", "eth1", "master", "lab0", "type", "veth", "peer", "name", "eth2")
	run(t, "ip", "link", "del", "eth1")
	if is := link(t, "lab0").HardwareAddr.String(); is != "" {
		t.Fatalf("it has %s", is)
	}
	for _, mac := range []ethernet.MAC{mac, "00:00:00:00:00:01"} {
		tap, err := Name("lab0").Connect(mac)
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		if is := link(t, "lab0").HardwareAddr.String(); is != "02:54:00:4f:2a:1c" {
			t.Errorf("with %s it has %s", mac, is)
		}
	}
}

// A machine can send as nobody else, also after its tap was connected again, and nobody else
// gets what is sent to it.
func TestForeignMAC(t *testing.T) {
	if inNetwork(t) {
		return
	}
	run(t, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
	run(t, "ip", "link", "set", "eth1", "master", "lab0", "up")
	run(t, "ip", "link", "set", "eth2", "up")
	tap, err := Name("lab0").Connect(mac)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	machine, board := []byte{0x52, 0x54, 0, 0x4f, 0x2a, 0x1c}, []byte{0x52, 0x54, 0, 0, 0, 0x99}
	hears := packets(t, "lab0")
	for n := range byte(2) {
		for _, from := range [][]byte{board, machine} {
			frame := append(append(bytes.Repeat([]byte{255}, 6), from...), 0x88, 0xb5, n)
			if _, err := tap.Write(append(make([]byte, 10), frame...)); err != nil { // behind its header
				t.Fatal(err)
			}
		}
		// They come in turn.
		if b := next(t, hears); !bytes.Equal(b[6:12], machine) || b[14] != n {
			t.Errorf("a frame comes in from % x: % x", b[6:12], b)
		}
		run(t, "ip", "link", "set", own, "nomaster")
		if err := Name("lab0").Reconnect(mac); err != nil {
			t.Fatal(err)
		}
	}

	// A board takes its MAC address.
	sends := packets(t, "eth2")
	frame := append(append(bytes.Repeat([]byte{255}, 6), machine...), 0x88, 0xb5, 7)
	if _, err := unix.Write(sends, frame); err != nil {
		t.Fatal(err)
	}
	next(t, hears)
	if _, err := unix.Write(hears, append(append(append([]byte(nil), machine...), board...), 0x88, 0xb5, 8)); err != nil {
		t.Fatal(err)
	}
	arrives := make(chan error, 1)
	go func() { // ends with the frame, or when the tap is closed
		b := make([]byte, 2000)
		for {
			n, err := tap.Read(b)
			if err != nil || n > 24 && bytes.Equal(b[10:16], machine) && b[24] == 8 {
				arrives <- err
				return
			}
		}
	}()
	select {
	case err := <-arrives:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("what is sent to it goes to the board")
	}
}

// packets is a socket for frames of the experimental protocol 88b5 on an interface.
func packets(t *testing.T, name string) (fd int) {
	t.Helper()
	const protocol = 0xb588 // in the order of the network, on hosts of the usual order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link(t, name).Index})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// next is the next frame that comes.
func next(t *testing.T, fd int) []byte {
	t.Helper()
	b := make([]byte, 2000)
	n, err := unix.Read(fd, b)
	if err != nil || n < 15 {
		t.Fatalf("%d bytes come, %v", n, err)
	}
	return b[:n]
}

func link(t *testing.T, name string) *net.Interface {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// What keeps machines from a bridge is said, with what to do; looking leaves nothing.
func TestAble(t *testing.T) {
	if inNetwork(t) {
		return
	}
	run(t, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
	run(t, "ip", "link", "add", "lab1", "type", "bridge") // which has no port, and is down
	for name, want := range map[Name]string{
		"lab0": "", "lab1": "", "eth1": "eth1 is no bridge, which machines in the lab's network are connected to", "lab2": "there is no bridge lab2",
	} {
		if err := name.Able(); want == "" && err != nil || want != "" && !says(err, want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if want == "" {
			continue
		}
		if _, err := name.Connect(mac); !says(err, want) {
			t.Errorf("connect to %s: %v, want %q", name, err, want)
		}
	}
	all, err := net.Interfaces()
	if err != nil || len(all) != 5 {
		t.Errorf("there is %v, %v", all, err)
	}

	// Without the right to it.
	runtime.LockOSThread() // which is not unlocked: the thread ends with the test
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
	if f := fault.As(Name("lab0").Able()); f == nil || f.Msg != "this process may not connect machines to a bridge" || !strings.Contains(f.Hint, "CAP_NET_ADMIN") {
		t.Errorf("without the right: %v", f)
	}
}
