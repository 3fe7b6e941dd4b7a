package machines

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/boottest"
)

// sleeper is a PC whose network card listens while it is off, at a port of the network of
// its own: QEMU has none that does.
type sleeper struct {
	t   *testing.T
	mac net.HardwareAddr
	ear *os.File // all frames that come to the card

	mu     sync.Mutex
	pc     *exec.Cmd // nil while it is off
	starts int
	deaf   bool
	heard  map[uint16]int // magic packets, by the type of their frames
}

// newSleeper is one that is on.
func newSleeper(t *testing.T, mac string) *sleeper {
	t.Helper()
	run(t, "ip", "link", "add", "card0", "type", "veth", "peer", "name", "card1")
	run(t, "ip", "link", "set", "card0", "master", "lab0", "up")
	run(t, "ip", "link", "set", "card1", "arp", "off", "up") // the host would answer there, too
	tap(t, "tap0")
	card, err := net.InterfaceByName("card1")
	if err != nil {
		t.Fatal(err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: card.Index})
	}
	if err != nil {
		t.Fatal(err)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	s := &sleeper{t: t, mac: hw, ear: os.NewFile(uintptr(fd), "card1"), heard: map[uint16]int{}}
	s.switchOn()
	var listening sync.WaitGroup
	listening.Go(s.listen) // ends with the socket
	t.Cleanup(func() {
		s.ear.Close()
		listening.Wait()
		s.mu.Lock()
		pc := s.pc
		s.deaf = true
		s.mu.Unlock()
		if pc != nil {
			_ = pc.Process.Kill()
		}
	})
	return s
}

func (s *sleeper) listen() {
	magic := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(s.mac, 16)...)
	for frame := make([]byte, 2<<10); ; {
		n, err := s.ear.Read(frame)
		if err != nil {
			return
		}
		if n < 14 || !bytes.Contains(frame[14:n], magic) {
			continue
		}
		s.mu.Lock()
		s.heard[binary.BigEndian.Uint16(frame[12:])]++
		hears := !s.deaf
		s.mu.Unlock()
		if hears {
			s.switchOn()
		}
	}
}

// switchOn starts the PC unless it runs.
func (s *sleeper) switchOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pc != nil {
		return
	}
	c := exec.Command("qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "512",
		"-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device", "vmxnet3,netdev=n,mac="+s.mac.String()) // whose driver knows Wake-on-LAN
	if err := c.Start(); err != nil {
		s.t.Error(err)
		return
	}
	s.pc = c
	s.starts++
	go func() { // ends with the PC
		_ = c.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pc = nil
	}()
}

// is is whether it runs, and how often it was switched on.
func (s *sleeper) is() (on bool, starts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pc != nil, s.starts
}

// hears has it hear packets, or not.
func (s *sleeper) hears(does bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = !does
}

// A PC that nothing but Wake-on-LAN switches.
func TestWakeOnLAN(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}}, segment, "[power]\nidle = \"5s\"\n")
	s := newSleeper(t, "52:54:00:4f:2a:1c")
	const pc = "pc-4f2a1c"
	is := func(on bool, starts int) { // a moment after it fell silent
		t.Helper()
		for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
			gotOn, got := s.is()
			if gotOn == on && got == starts {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it is on: %t, %d times; want %t, %d", gotOn, got, on, starts)
			}
		}
	}
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	w.does("alice", "node wait "+pc)
	w.does("admin", "device config "+pc+" power=wol")

	// Nobody needs it: it shuts down by itself.
	w.until("alice", "log show --type power", "wol: switched off to save power")
	w.until("alice", "node show --all --json", `"state":"powersave"`)
	is(false, 1)

	// Somebody does.
	w.does("alice", "node acquire "+pc)
	w.does("alice", "node wait "+pc)
	is(true, 2)
	w.until("alice", "log show --type power", "wol: has its power back")
	s.mu.Lock()
	if s.heard[unix.ETH_P_IP] == 0 || s.heard[0x0842] == 0 {
		t.Errorf("its card heard %v", s.heard)
	}
	s.mu.Unlock()

	// It starts anew when it is asked to, and nothing cuts its power.
	before := w.bootID("alice", pc)
	w.does("alice", "node reboot "+pc)
	w.does("alice", "node wait "+pc)
	if w.bootID("alice", pc) == before {
		t.Error("it did not boot anew")
	}
	is(true, 2)
	w.refuses("alice", "node reboot "+pc+" --hard", "nothing can cut the power of "+pc)

	// The server ends before a packet is heard that is to wake it for its owner.
	w.does("alice", "node off "+pc)
	is(false, 2)
	if out := w.does("alice", "power show"); !strings.Contains(out, "wol") || !strings.Contains(out, "off") {
		t.Errorf("power show: %s", out)
	}
	s.hears(false)
	w.does("alice", "node on "+pc)
	w.until("alice", "power show", "has not begun to boot yet")
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	is(false, 2)
	s.hears(true)
	w.does("alice", "node wait "+pc)
	is(true, 3)

	// It ends while it shuts down to save power: who takes it then has it.
	w.does("alice", "node release "+pc)
	w.until("alice", "power show", "off") // or to be off: whoever is quicker
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.does("bob", "node acquire "+pc)
	w.does("bob", "node wait "+pc)
	if on, _ := s.is(); !on {
		t.Error("it is off, and bob has it")
	}
}
