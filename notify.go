package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What systemd is told of the service, sd_notify(3): with Type=notify-reload it
// waits for the end of a reload, and "systemctl status" shows how it went.

// notifyReady says that the server serves, how it is, and whether the last reload
// failed. There is no message that makes a reload fail in systemd's eyes: that
// number is what a program can ask for (systemctl show -p StatusErrno).
func notifyReady(status string, failed error) {
	errno := 0
	if failed != nil {
		errno = int(unix.EINVAL)
	}
	notify(fmt.Sprintf("READY=1\nSTATUS=%s\nERRNO=%d", oneLine(status), errno))
}

// notifyStatus says how the server is.
func notifyStatus(status string) { notify("STATUS=" + oneLine(status)) }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// notifyReloading says that the configuration is about to be read again. The time
// tells systemd which of several reloads it is.
func notifyReloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		slog.Warn("tell systemd", "err", err)
		return
	}
	notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// notify sends one message; without systemd it does nothing.
func notify(what string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		slog.Warn("tell systemd", "err", err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(what)); err != nil {
		slog.Warn("tell systemd", "err", err)
	}
}
