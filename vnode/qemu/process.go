package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"walt/fault"
)

// killLimit is for how long the end of a process that was killed is waited for. One that
// hangs in the kernel, as on a disk that does not answer, ends when that does.
const killLimit = 10 * time.Second

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
	if p, name := named(id); name == filepath.Base(dir) && runsIn(id, dir) {
		return p
	}
	return nil
}

// nameForm is how the process of a machine is called, among its arguments: see guestName.
var nameForm = regexp.MustCompile(`\x00walt-([0-9a-f]{12})\x00`)

// named returns a process, and of which directory it is called the machine; "" of none.
func named(id int) (p *os.Process, name string) {
	p, err := os.FindProcess(id) // from here on the number cannot become another's
	if err != nil {
		return nil, ""
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id))
	if err != nil {
		return nil, ""
	}
	if is := nameForm.FindSubmatch(command); is != nil {
		return p, string(is[1])
	}
	return nil, ""
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

// ranIn reports whether a process runs in a directory that somebody took away since.
func ranIn(id int, dir string) bool {
	at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", id))
	return err == nil && at == resolved(dir)+" (deleted)" // as /proc says it
}

// resolved is a path without links, whose last parts need not be there.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil || path == filepath.Dir(path) {
		return real
	}
	return filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
}

// end cuts the power of the machine in a directory, if one runs there, whatever became of
// its files and of the directory: two machines of one node must never run.
func end(dir string) (was bool, err error) {
	n, err := endThose(filepath.Dir(dir), func(name string) bool { return name == filepath.Base(dir) })
	return n > 0, err
}

// EndAll cuts the power of all machines in a directory for files of machines, whatever
// became of that, and returns how many there were. No Hypervisor may be at work there.
func EndAll(dir string) (n int, err error) {
	return endThose(dir, func(string) bool { return true })
}

// endThose ends those of the machines whose files are, or were, in directories of dir, and
// returns how many there were. The error names those that do not end.
func endThose(dir string, those func(name string) bool) (n int, err error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	var killed []*os.Process
	for _, entry := range all {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // it is no process
		}
		p, name := named(id)
		if p == nil || !those(name) {
			continue
		}
		if own := filepath.Join(dir, name); runsIn(id, own) || ranIn(id, own) {
			killed = append(killed, p)
		}
	}
	limit := time.Now().Add(killLimit)
	var refused error
	for _, p := range killed {
		refused = errors.Join(refused, kill(p))
	}
	if refused != nil {
		return len(killed), refused
	}
	for _, p := range killed {
		if !await(p, nil, time.Until(limit)) {
			err = errors.Join(err, noEnd(p))
		}
	}
	return len(killed), err
}

// kill has the kernel end a process.
func kill(p *os.Process) error {
	err := p.Kill()
	if err == nil || errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("end the process %d of a machine: %w", p.Pid, err)
}

// stuck is the error of a process that was killed, and does not end: a fault.
type stuck struct{ error }

func (s stuck) Unwrap() error { return s.error }

func noEnd(p *os.Process) stuck {
	return stuck{fault.Failedf("the process %d of its machine does not end, though it was killed", p.Pid).
		WithHint("an administrator must find out what that waits for in the kernel of the server, such as its disk")}
}

// await waits until a process that may be nobody's child of ours has ended. It
// returns false when left is closed before, or it takes longer than limit; 0: for ever.
func await(p *os.Process, left <-chan struct{}, limit time.Duration) bool {
	var late <-chan time.Time
	if limit != 0 {
		late = time.After(limit)
	}
	for !over(p) {
		select {
		case <-left:
			return false
		case <-late:
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
