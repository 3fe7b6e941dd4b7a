//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// becomeStay begins the program anew, with the memory of a process that does little.
func (m *machine) becomeStay(program, words int) error {
	what, err := json.Marshal(m.in.Process)
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(words), unix.F_SETFD, 0); err != nil {
		return err
	}
	env := append(environment(), "WALT_PROCESS="+string(what), "WALT_WORDS="+strconv.Itoa(words))
	return unix.Exec(programPath(program), []string{stayName}, env)
}

// stay is process 1 of images without an init: it runs what the image declares, ends
// its zombies, and shuts down as busybox's init does when a program tells it with a signal.
func stay() {
	fd, _ := strconv.Atoi(os.Getenv("WALT_WORDS"))
	words := os.NewFile(uintptr(fd), "words")
	unix.CloseOnExec(fd)
	var process *instructions.Process
	json.Unmarshal([]byte(os.Getenv("WALT_PROCESS")), &process) // this program wrote it
	os.Clearenv()
	os.WriteFile("/proc/self/comm", []byte(stayName), 0) // so that the agent knows it
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCHLD)
	os.WriteFile("/proc/sys/kernel/ctrl-alt-del", []byte("0"), 0) // SIGINT comes here
	pid := 0
	if process != nil && len(process.Args) > 0 {
		var err error
		if pid, err = run(process); err != nil {
			fmt.Fprintf(words, "%s cannot be run: %v\n", process.Args[0], err)
		}
	}
	for s := range signals {
		switch s {
		case unix.SIGTERM, unix.SIGINT:
			shutDown(unix.LINUX_REBOOT_CMD_RESTART)
		case unix.SIGUSR1, unix.SIGUSR2:
			shutDown(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		for {
			var ws unix.WaitStatus
			ended, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if ended <= 0 || err != nil {
				break
			}
			if ended == pid {
				fmt.Fprintf(words, "%s ended with %s\n", process.Args[0], describe(ws))
			}
		}
	}
}

func describe(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return "signal " + unix.SignalName(ws.Signal())
	}
	return "status " + strconv.Itoa(ws.ExitStatus())
}

// run starts the process of an image, on the console.
func run(p *instructions.Process) (pid int, err error) {
	user := p.User
	if user == "" {
		user = "0"
	}
	a, err := findAccount(user)
	if err != nil {
		return 0, err
	}
	env := p.Env
	if value(env, "PATH") == "" {
		env = append(env, "PATH="+searchPath)
	}
	if value(env, "HOME") == "" {
		env = append(env, "HOME="+a.home)
	}
	dir := p.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // images declare one that they do not have
		return 0, err
	}
	program, err := findProgram(p.Args[0], dir, value(env, "PATH"))
	if err != nil {
		return 0, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	sys := &syscall.SysProcAttr{Setsid: true}
	if a.uid != 0 || a.gid != 0 {
		sys.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
		os.Chown("/dev/console", int(a.uid), int(a.gid)) // so that it can open its own output again
	}
	return syscall.ForkExec(program, p.Args, &syscall.ProcAttr{Dir: dir, Env: env, Files: []uintptr{uintptr(null), 1, 2}, Sys: sys})
}

// value is what an environment has for a name; the last one counts.
func value(env []string, name string) (v string) {
	for _, e := range env {
		if rest, ok := strings.CutPrefix(e, name+"="); ok {
			v = rest
		}
	}
	return v
}

// findProgram looks a program up as a shell would.
func findProgram(name, dir, search string) (string, error) {
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = dir + "/" + name
		}
		return name, nil
	}
	for where := range strings.SplitSeq(search, ":") {
		full := where + "/" + name
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("it is not in %s", search)
}

// grace is how long processes have to end after SIGTERM.
const grace = 5 * time.Second

// shutDown ends all processes, and then the machine.
func shutDown(how int) {
	unix.Kill(-1, unix.SIGTERM)
	for end := time.Now().Add(grace); time.Now().Before(end); {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 {
			if errors.Is(err, unix.ECHILD) {
				break
			}
			if othersGone() {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	unix.Kill(-1, unix.SIGKILL)
	unix.Sync()
	unix.Reboot(how)
}

// othersGone reports whether the agent, which does not heed SIGTERM, is the only
// process in user space beside this one.
func othersGone() bool {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	left := 0
	for _, e := range all {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 1 {
			if b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && len(b) > 0 && !strings.HasPrefix(string(b), agentName) {
				left++
			}
		}
	}
	return left == 0
}
