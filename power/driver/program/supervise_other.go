//go:build !linux

package program

import (
	"os"
	"syscall"
)

// executable is the file of this process.
func executable() (string, error) { return os.Executable() }

// adoptOrphans does nothing: only what stays in the group of a program is killed with it.
func adoptOrphans() error { return nil }

// endChildren kills the group of a program.
func endChildren(program int) { _ = syscall.Kill(-program, syscall.SIGKILL) }
