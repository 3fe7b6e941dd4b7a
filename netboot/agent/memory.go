//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// openSelf opens the program, which stays in memory when the initramfs is emptied. A copy
// of it would be new to an emulated processor, which has translated this one.
func openSelf() (int, error) {
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return aside(fd)
}

// aside returns another descriptor of a file, above those that a new process is given.
func aside(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 100) }

// The kernel ends those first whose score is high, and never those with -1000. A new
// process has the score of the one that starts it.
const (
	scoreFile = "/proc/self/oom_score_adj"
	spared    = "-1000"
)

var scoring sync.Mutex

// startKillable starts what users run, which the kernel may end when memory is short.
func startKillable(c *exec.Cmd) error {
	scoring.Lock()
	defer scoring.Unlock()
	if err := setScore("0"); err != nil {
		return err
	}
	defer setScore(spared) // root may do both
	return c.Start()
}

// setScore sets the score of this process, also when somebody unmounted /proc, in which
// the agent works.
func setScore(score string) error {
	err := os.WriteFile(scoreFile, []byte(score), 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(strings.TrimPrefix(scoreFile, "/proc/"), []byte(score), 0)
	}
	return err
}

// memfile makes a file in memory, open at its beginning.
func memfile(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for rest := content; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return 0, err
	}
	return aside(fd)
}

// programPath is where the kernel finds the program of a descriptor.
func programPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// unixForkExec starts the program under another name, in a session of its own.
func unixForkExec(program int, name string, files []uintptr) (pid int, err error) {
	return syscall.ForkExec(programPath(program), []string{name}, &syscall.ProcAttr{
		Env: environment(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// searchPath is where programs are looked for, as shells do.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is what processes of ours start with.
func environment() []string { return []string{"PATH=" + searchPath, "HOME=/", "TERM=linux"} }
