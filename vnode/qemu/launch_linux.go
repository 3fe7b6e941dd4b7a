package qemu

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// launch starts a program that gets none of the capabilities which the server was given by
// those who start it (ambient ones, see capabilities(7)): a guest may break out of its machine.
func launch(c *exec.Cmd) error {
	failed := make(chan error, 1)
	go func() { // ends when the program was started
		runtime.LockOSThread() // which is not unlocked: its thread has none of them any more, and ends with it
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err != nil {
			failed <- fmt.Errorf("drop capabilities: %w", err)
			return
		}
		failed <- c.Start()
	}()
	return <-failed
}
