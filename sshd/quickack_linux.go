package sshd

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAck has the system acknowledge at once what was received.
func quickAck(socket syscall.RawConn) { _ = socket.Control(setQuickAck) }

func setQuickAck(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

// setUserTimeout has the system give a connection up when its client takes
// nothing of what was sent for a minute.
func setUserTimeout(socket syscall.RawConn) {
	_ = socket.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 60_000)
	})
}
