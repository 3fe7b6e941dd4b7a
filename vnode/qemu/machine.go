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

	"golang.org/x/sys/unix"

	"walt/ethernet"
	"walt/pause"
)

// The files of a machine, in a directory of its own. Their names are short: the
// path of a socket has 107 bytes at most.
const (
	controlSocket = "qmp.sock"
	serialSocket  = "tty.sock"
	wireSocket    = "net.sock" // of the machine
	switchSocket  = "lan.sock" // of the switch that it is connected to
	serialLog     = "tty.log"
	processLog    = "qemu.log" // what QEMU itself has to say
	processID     = "pid"
)

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
		"-netdev", "dgram,id=n0,local.type=unix,local.path="+wireSocket+",remote.type=unix,remote.path="+switchSocket,
		"-device", "virtio-net-pci,netdev=n0,bootindex=1,mac="+string(s.MAC),
		"-device", "virtio-rng-pci",
		"-chardev", "socket,id=s0,server=on,wait=off,path="+serialSocket, "-serial", "chardev:s0",
		"-qmp", "unix:"+controlSocket+",server=on,wait=off",
		"-pidfile", processID)
	if s.Kernel == "" {
		return append(a, "-boot", "reboot-timeout=5000") // else the firmware gives up for ever
	}
	return append(a, "-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.CommandLine)
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
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it goes on when the server's terminal is closed
	if err := c.Start(); err != nil {
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
		m.Kill()
		return nil, err
	}
	return m, nil
}

// end cuts the power of the machine in a directory, if one runs there, whatever became of
// its files and of the directory: two machines of one node must never run.
func end(dir string) (was bool, err error) {
	real, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		real, err = filepath.Dir(dir), nil
	}
	if err != nil {
		return false, err
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
	taken := filepath.Join(real, filepath.Base(dir)) + " (deleted)" // as /proc says when somebody took it away
	for _, entry := range all {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // it is no process
		}
		p := named(id, dir)
		if p == nil {
			continue
		}
		if at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", id)); !runsIn(id, dir) && (err != nil || at != taken) {
			continue
		}
		_ = p.Kill() // an error means that it has just ended
		await(p, nil)
		was = true
	}
	return was, nil
}

// EndAll cuts the power of all machines in a directory for files of machines, and
// returns how many there were. No Hypervisor may be at work there.
func EndAll(dir string) (n int, err error) {
	dirs, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	for _, d := range dirs {
		was, err := end(filepath.Join(dir, d.Name()))
		if err != nil {
			return n, err
		}
		if was {
			n++
		}
	}
	return n, err
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
			return nil, fmt.Errorf("QEMU ended at once: %s", m.complaint())
		default:
		}
		if late := pause.For(ctx, poll); late != nil {
			return nil, fmt.Errorf("start QEMU: %w", errors.Join(late, err))
		}
	}
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
		if await(p, m.left) {
			close(m.gone)
		}
	}()
	return m, nil
}

// await waits until a process that may be nobody's child of ours has ended. It
// returns false when left is closed before.
func await(p *os.Process, left <-chan struct{}) bool {
	for !over(p) {
		select {
		case <-left:
			return false
		case <-time.After(poll):
		}
	}
	return true
}

// over reports whether a process has ended, also one that nobody has asked why.
func over(p *os.Process) (is bool) {
	err := p.WithHandle(func(pidfd uintptr) {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		is = err == nil && n > 0
	})
	return is || err != nil
}

// process finds the process of the machine in a directory, nil when there is none.
func process(dir string) *os.Process {
	text, err := os.ReadFile(filepath.Join(dir, processID))
	if err != nil {
		return nil
	}
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || id <= 1 {
		return nil
	}
	if p := named(id, dir); p != nil && runsIn(id, dir) {
		return p
	}
	return nil
}

// named returns a process when it is called as that of the machine of a directory, else nil.
func named(id int, dir string) *os.Process {
	p, err := os.FindProcess(id) // from here on the number cannot become another's
	if err != nil {
		return nil
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id))
	if err != nil || !strings.Contains(string(command), "\x00walt-"+filepath.Base(dir)+"\x00") {
		return nil
	}
	return p
}

// runsIn reports whether a process runs in a directory, as that of a machine does. Who
// copies the data of a server copies the number of the process, too.
func runsIn(id int, dir string) bool {
	is, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", id))
	if err != nil {
		return false
	}
	want, err := os.Stat(dir)
	return err == nil && os.SameFile(is, want)
}

// Kill cuts the power, and returns when the process has ended.
func (m *Machine) Kill() {
	_ = m.process.Kill() // an error means that it ended already
	<-m.gone
	if m.monitor != nil {
		m.monitor.close()
	}
}

// Gone is closed when the machine has ended.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// Leave lets go of the machine, which goes on.
func (m *Machine) Leave() {
	close(m.left)
	m.monitor.close()
}
