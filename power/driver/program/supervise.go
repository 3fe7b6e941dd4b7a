package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// supervisor is what the server is called, as the first of its arguments, where it runs one
// program, which the others are.
const supervisor = "waltd-program"

// cannotRun is what a supervisor ends with whose program could not be started; and killed, to
// which the number of the signal is added, when that ended it.
const (
	cannotRun = 125
	killed    = 128
)

// Supervise returns at once unless the process is a supervisor, which each program has: then it
// ends with what the program ends with. When that failed, or when the server closes the
// supervisor's standard input, as it does whatever ends it, the program and all that it started
// have ended before, wherever that has gone. It is to be called before anything else.
func Supervise() {
	if os.Args[0] != supervisor {
		return
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM) // the server says when
	if err := adoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, "PR_SET_CHILD_SUBREAPER:", err)
		os.Exit(cannotRun)
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(cannotRun)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing comes but its end
		endChildren()
		_ = syscall.Kill(0, syscall.SIGKILL)
	}()
	err := cmd.Wait()
	if err == nil { // what it has left is meant to stay, as a machine that it switched on
		os.Exit(0)
	}
	endChildren()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended { // it was awaited by who ended all
		os.Exit(killed + int(syscall.SIGKILL))
	}
	if is := exit.Sys().(syscall.WaitStatus); is.Signaled() {
		os.Exit(killed + int(is.Signal()))
	}
	os.Exit(exit.ExitCode())
}
