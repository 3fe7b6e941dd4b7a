//go:build !linux

package sshd

import "syscall"

// Other systems have no such options: a login is slower there, and a client
// that takes no output is noticed only while a command of its runs.

func quickAck(syscall.RawConn)       {}
func setUserTimeout(syscall.RawConn) {}
