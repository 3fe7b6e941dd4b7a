//go:build !linux

package qemu

import "os/exec"

// launch starts a program.
func launch(c *exec.Cmd) error { return c.Start() }
