//go:build !linux

package program

import "os"

// executable is the file of this process.
func executable() (string, error) { return os.Executable() }

// adoptOrphans does nothing: only what stays in the group of a program is killed with it.
func adoptOrphans() error { return nil }

// endChildren leaves it to the end of the group.
func endChildren() {}
