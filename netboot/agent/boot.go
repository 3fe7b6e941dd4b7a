//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// boot is what /init does. When it fails the machine stays as it is, and SSH leads to
// the log, if the boot came so far that it is known who may log in.
func boot() {
	log := &record{}
	m := newMachine(log)
	defer func() {
		if r := recover(); r != nil {
			m.fail(fmt.Errorf("%v\n%s", r, debug.Stack()))
		}
	}()
	signal.Ignore(unix.SIGPIPE)
	err := mountKernel()
	log.out = openConsoles()
	if err == nil {
		err = m.boot()
	}
	m.fail(err)
}

// fail ends a boot for good.
func (m *machine) fail(err error) {
	m.log.logf("the boot ends here: %v", err)
	m.set(func() { m.failed = err.Error() })
	forever()
}

// forever waits while others work.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func (m *machine) boot() error {
	rebootOnPanic()
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	p, err := parseCmdline(string(line))
	if err != nil {
		return err
	}
	m.step(instructions.Modules)
	d := openDrivers(m.log)
	d.coldplug()
	m.step(instructions.Network)
	iface := findInterface(p.mac, d, m.log)
	if err := bringUp(iface, p); err != nil {
		return err
	}
	m.card = iface.Index
	m.leaveAwake()
	waitLink(iface, m.log)
	m.step(instructions.Asking)
	m.in = askInstructions(p.url, m.log)
	if err := m.begin(); err != nil {
		return err
	}
	listener, err := m.listen()
	if err != nil {
		return err
	}
	go m.talk()          // ends with the program, which execs
	go m.serve(listener) // ends when its listener is closed
	if m.in.Rescue {
		m.step(instructions.Rescue)
		m.log.logf("stopped before the root is mounted, as the node is set")
		<-m.resume
	}
	m.step(instructions.Mounts)
	if m.taken, err = mountRoot(m.in.Root, d, m.log); err != nil {
		return err
	}
	sshd, systemd := false, false
	a := m.access()
	err = inRoot(func() error {
		writeFiles(m.in, iface, m.log)
		if err := m.writeAccess(a); err != nil {
			m.log.logf("who may log in: %v", err)
		} else {
			m.written = a.Version
		}
		if len(m.in.Root.NFS) > 0 {
			mountVolumes(m.in.Volumes, m.log)
		}
		if m.in.Init != "" {
			sshd, systemd = hasSSHD(), isSystemd(m.in.Init)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := writeRun(p, iface, len(m.in.Root.NFS) > 0); err != nil {
		return err
	}
	if systemd {
		if err := limitSystemd(); err != nil {
			return err
		}
	}
	m.step(instructions.Init)
	if err := switchRoot(); err != nil {
		return err
	}
	listener.Close() // the agent listens
	return m.runInit(sshd)
}

// begin sets what belongs to the kernel.
func (m *machine) begin() error {
	if !m.in.Clock.IsZero() && wrongBy(m.in.Clock).Abs() >= tolerance {
		m.orders.clock.set(m.in.Clock)
	}
	if err := seed(m.in.Seed); err != nil {
		m.log.logf("random numbers: %v", err)
	}
	return unix.Sethostname([]byte(m.in.Host))
}

// runInit starts the agent, and becomes the image's init, or that of images without.
func (m *machine) runInit(sshd bool) error {
	program, words, err := m.handOver(sshd)
	if err != nil {
		return err
	}
	if m.in.Init != "" {
		err := unix.Exec(m.in.Init, append([]string{m.in.Init}, os.Args[1:]...), environment())
		fmt.Fprintf(os.NewFile(uintptr(words), "words"), "the image's %s cannot be run: %v\n", m.in.Init, err)
		m.in.Process = nil
	}
	return m.becomeStay(program, words)
}

// rebootOnPanic has a kernel that panics reboot, unless its command line says what it
// is to do: a machine that only stands would wait for somebody.
func rebootOnPanic() {
	const name = "/proc/sys/kernel/panic"
	if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) == "0" {
		os.WriteFile(name, []byte("10"), 0) // if not, it stands
	}
}

// askInstructions asks until it is told: the server may be away.
func askInstructions(url string, log *record) *instructions.Instructions {
	defer log.tell("nothing answers yet: the port of its switch may look for loops first (spanning tree), or the server is away")()
	told := ""
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		in, err := oneAsk(url)
		if err == nil {
			return in
		}
		if err.Error() != told {
			told = err.Error()
			log.logf("instructions: %v", err)
		}
		time.Sleep(pause)
	}
}

// instructionsLimit is how many bytes instructions have at most.
const instructionsLimit = 16 << 20

func oneAsk(url string) (*instructions.Instructions, error) {
	b, err := get(url, 10*time.Second)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	text, err := io.ReadAll(io.LimitReader(b, instructionsLimit))
	if err != nil {
		return nil, err
	}
	return instructions.Parse(text)
}
