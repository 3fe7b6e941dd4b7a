package program

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable is the file of this process, also when another one has taken its place.
func executable() (string, error) { return "/proc/self/exe", nil }

// adoptOrphans has what loses its parent become a child of this process, and not of init's.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// endChildren kills all children, and what becomes one by that, until there are none.
func endChildren(int) {
	for {
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && err != syscall.EINTR {
			return
		}
	}
}

// children are those of this process.
func children() (all []int) {
	procs, _ := os.ReadDir("/proc")
	self := strconv.Itoa(os.Getpid())
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + proc.Name() + "/stat")                        // it may have ended
		of := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // a name may hold anything
		if len(of) > 1 && of[1] == self {
			all = append(all, pid)
		}
	}
	return all
}
