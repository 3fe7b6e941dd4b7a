package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// supervisor is what the server is called, as the first of its arguments, where it runs one
// program, which the others are.
const supervisor = "waltd-program"

// What a supervisor ends with, if not with what its program does: that could not be started; and
// killed with the number of the signal added, when that ended it.
const (
	cannotRun = 125
	killed    = 128
)

// lastWords is how long what a program has started may keep its output open after its end.
const lastWords = time.Second

// Supervise returns at once unless the process is a supervisor, which each program has: then it
// ends with what the program ends with. When that failed, or when the server closes the
// supervisor's standard input, as it does whatever ends it, the program and all that it started
// have ended before, wherever that has gone. It is to be called before anything else.
func Supervise() {
	if os.Args[0] == supervisor {
		exit(supervise(os.Args[1:]))
	}
}

// exit is os.Exit without the second that this takes where data races are looked for.
func exit(code int) { syscall.Exit(code) }

// supervise runs a program, and returns what the supervisor ends with.
func supervise(words []string) int {
	// The server says when; writing to one that is gone is an error, and not the end.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	if err := adoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, "PR_SET_CHILD_SUBREAPER:", err)
		return cannotRun
	}
	cmd := exec.Command(words[0], words[1:]...)
	// Not the files: what goes on after the program keeps these pipes open, and not the server's.
	cmd.Stdout, cmd.Stderr = struct{ io.Writer }{os.Stdout}, struct{ io.Writer }{os.Stderr}
	cmd.WaitDelay = lastWords
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a program that kills its group kills no supervisor
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return cannotRun
	}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing comes but its end
		endChildren(cmd.Process.Pid)
		exit(killed + int(syscall.SIGKILL))
	}()
	err := cmd.Wait()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // what it has left is meant to stay, as a machine that it switched on
		return 0
	}
	endChildren(cmd.Process.Pid)
	failure, ended := errors.AsType[*exec.ExitError](err)
	if !ended { // it was awaited by who ended all
		return killed + int(syscall.SIGKILL)
	}
	if is := failure.Sys().(syscall.WaitStatus); is.Signaled() {
		return killed + int(is.Signal())
	}
	return failure.ExitCode()
}
