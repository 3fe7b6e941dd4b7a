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

// accepting says that it is, and where, and what is wrong: on the network of boards and
// PCs, and with the configuration that was last read.
func (s *server) accepting() string {
	all := []string{"accepting logins on " + s.listener.Addr().String()}
	for _, t := range s.lab.Troubles() {
		all = append(all, t.Text)
	}
	if wrong := s.unread.Load(); wrong != nil {
		all = append(all, "the configuration stays as it was: "+*wrong)
	}
	return strings.Join(all, "; ")
}

// tellTroubles tells systemd what is wrong, once logins are accepted.
func (s *server) tellTroubles() {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.ready {
		notifyStatus(s.accepting())
	}
}

// tellReady tells systemd that logins are accepted, and whether the last reload failed.
func (s *server) tellReady(failed error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.ready = true
	notifyReady(s.accepting(), failed)
}

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
