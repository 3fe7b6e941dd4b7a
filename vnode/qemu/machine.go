// Package qemu runs virtual nodes that are machines: processes of QEMU, which go on
// when the server ends and are found again by the next one. What they boot, and
// whose they are, is not its business. Its one surprising rule: a machine never
// reboots in place. When it resets itself its process ends, and a new one boots what
// the node is to boot then.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/pause"
)

// The files of a machine, in a directory of its own. Their names are short: the
// path of a socket has 107 bytes at most.
const (
	controlSocket = "qmp.sock"
	serialSocket  = "tty.sock"
	wireSocket    = "net.sock" // of the machine
	switchSocket  = "lan.sock" // of the switch that it is connected to
	serialLog     = "tty.log"  // of this boot, whoever has the node: why it ended, as console.log of its console is one owner's
	processLog    = "qemu.log" // what QEMU itself has to say
	processID     = "pid"
)

// serialDevice is what QEMU calls the serial line, as it did of machines that an earlier server
// started.
const serialDevice = "s0"

const (
	// startLimit is how long a process may take until its control socket is there.
	startLimit = 30 * time.Second
	poll       = 5 * time.Millisecond
)

// Spec is what a machine consists of, and what it starts with.
type Spec struct {
	MAC    ethernet.MAC
	Memory int64 // bytes
	CPUs   int
	Tap    *os.File // that its network card is connected to; nil: to sockets in its directory

	// Kernel and Initrd are files that it starts with at once; without them it boots
	// over the network, by iPXE. CommandLine is the kernel's.
	Kernel, Initrd, CommandLine string
}

// Emulator is the program, and what it can do here.
type Emulator struct {
	Program string // path of qemu-system-x86_64
	KVM     bool   // machines run on the processor itself
}

// arguments are those of the process of a machine, whose working directory is the
// machine's own.
func (e Emulator) arguments(s Spec) []string {
	a := append(e.processor(), "-name", guestName(s.MAC),
		"-m", strconv.FormatInt(s.Memory>>20, 10), "-smp", strconv.Itoa(s.CPUs),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-netdev", s.network(),
		"-device", "virtio-net-pci,netdev=n0,bootindex=1,mac="+string(s.MAC),
		"-device", "virtio-rng-pci",
		"-chardev", "socket,id="+serialDevice+",server=on,wait=off,path="+serialSocket, "-serial", "chardev:"+serialDevice,
		"-qmp", "unix:"+controlSocket+",server=on,wait=off",
		"-pidfile", processID)
	if s.Kernel == "" {
		return append(a, "-boot", "reboot-timeout=5000") // else the firmware gives up for ever
	}
	return append(a, "-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.CommandLine)
}

// network is the argument that says what the network card n0 is connected to.
func (s Spec) network() string {
	if s.Tap != nil {
		return "tap,id=n0,fd=3" // the first of those that start passes on
	}
	return "dgram,id=n0,local.type=unix,local.path=" + wireSocket + ",remote.type=unix,remote.path=" + switchSocket
}

// processor are the arguments that say what a machine runs on.
func (e Emulator) processor() []string {
	if e.KVM {
		return []string{"-machine", "q35,graphics=off", "-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-machine", "q35,graphics=off", "-accel", "tcg,thread=multi", "-cpu", "max"}
}

// guestName is what a machine is called by its process.
func guestName(mac ethernet.MAC) string { return "walt-" + folder(mac) }

// folder is the name of a machine's directory.
func folder(mac ethernet.MAC) string { return strings.ReplaceAll(string(mac), ":", "") }

// Machine is one that runs.
type Machine struct {
	dir     string
	monitor *monitor
	process *os.Process
	gone    chan struct{} // closed when the process has ended
	left    chan struct{} // closed by Leave
}

// start starts a machine in its directory, which is made if need be, in place of
// one that is still there.
func (e Emulator) start(ctx context.Context, dir string, s Spec) (*Machine, error) {
	if err := clear(dir); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, processLog), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := exec.Command(e.Program, e.arguments(s)...)
	c.Dir, c.Stdout, c.Stderr = dir, log, log
	if s.Tap != nil {
		c.ExtraFiles = []*os.File{s.Tap}
	}
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it goes on when the server's terminal is closed
	if err := launch(c); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	m := &Machine{dir: dir, process: c.Process, gone: make(chan struct{}), left: make(chan struct{})}
	go func() { // ends with the process
		defer close(m.gone)
		_ = c.Wait() // why it ended is told by QMP, or not at all
	}()
	// QEMU does so, too, but late: a server that comes after one which is killed now finds
	// the machine, and does not start a second one beside it.
	err = os.WriteFile(filepath.Join(dir, processID), fmt.Appendln(nil, c.Process.Pid), 0o600)
	if err == nil {
		m.monitor, err = m.wait(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	return m, nil
}

// clear makes the directory of a machine, and takes away what an earlier one left.
func clear(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := end(dir); err != nil {
		return err
	}
	for _, name := range []string{controlSocket, serialSocket, wireSocket, processID} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// wait waits until the process of a machine listens to us.
func (m *Machine) wait(ctx context.Context) (*monitor, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		q, err := attach(ctx, filepath.Join(m.dir, controlSocket))
		if err == nil {
			return q, nil
		}
		select {
		case <-m.gone:
			return nil, refused(m.complaint())
		default:
		}
		if late := pause.For(ctx, poll); late != nil {
			return nil, fmt.Errorf("start QEMU: %w", errors.Join(late, err))
		}
	}
}

// refused is what QEMU ended with at once: a fault when the machine has too little memory for
// its kernel and initramfs to be put there.
func refused(complaint string) error {
	if strings.Contains(complaint, "initrd is too large") {
		return fault.Failedf("its memory has no room for its kernel").WithHint("give it more, with: node config NODE ram=512M")
	}
	return fmt.Errorf("QEMU ended at once: %s", complaint)
}

// complaint is the last that the process said.
func (m *Machine) complaint() string {
	b, err := os.ReadFile(filepath.Join(m.dir, processLog))
	if err != nil {
		return err.Error()
	}
	return lastLine(b)
}

// adopt finds the machine that an earlier server started in a directory. It fails
// with os.ErrNotExist when none runs there.
func adopt(ctx context.Context, dir string, mac ethernet.MAC) (*Machine, error) {
	p := process(dir)
	if p == nil {
		return nil, os.ErrNotExist
	}
	q, err := attach(ctx, filepath.Join(dir, controlSocket))
	if err != nil {
		return nil, fmt.Errorf("it does not answer: %v", err) // whose socket is gone may run
	}
	var is struct{ Name string }
	if err = q.do(ctx, "query-name", nil, &is); err == nil && is.Name != guestName(mac) {
		err = fmt.Errorf("the machine in %s calls itself %q", dir, is.Name)
	}
	if err != nil {
		q.close()
		return nil, err
	}
	m := &Machine{dir: dir, monitor: q, process: p, gone: make(chan struct{}), left: make(chan struct{})}
	go func() { // ends with the process, or with Leave
		<-q.gone
		if await(p, m.left, 0) {
			close(m.gone)
		}
	}()
	return m, nil
}

// Kill cuts the power, and returns when the process has ended. The error is a fault when
// it does not in time.
func (m *Machine) Kill() error {
	if m.monitor != nil {
		defer m.monitor.close()
	}
	if err := kill(m.process); err != nil {
		return err
	}
	select {
	case <-m.gone:
		return nil
	case <-time.After(killLimit):
		return noEnd(m.process)
	}
}

// Gone is closed when the machine has ended.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// Leave lets go of the machine, which goes on.
func (m *Machine) Leave() {
	close(m.left)
	m.monitor.close()
}
