//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// logSize is how many bytes of the log are kept.
const logSize = 64 << 10

// record is what has happened: kept for whoever asks, and shown on the way.
type record struct {
	mu   sync.Mutex
	text []byte
	out  io.Writer
}

// logf notes a line.
func (r *record) logf(format string, args ...any) {
	line := fmt.Sprintf("walt: [%8.3f] %s\n", uptime(), fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, line...)
	if over := len(r.text) - logSize; over > 0 {
		r.text = append(r.text[:0], r.text[over:]...)
	}
	if r.out != nil {
		io.WriteString(r.out, line)
	}
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

// console is the kernel's console, or nothing.
func console() io.Writer {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return io.Discard
	}
	return f
}

// kernelLog is the kernel's log, which is in memory, on the console, and in the
// journal of the image. One write is one line.
func kernelLog() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return io.Discard
	}
	return f
}

// kernelMessages is the kernel's log, as dmesg shows it.
func kernelMessages() string {
	b := make([]byte, 512<<10)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, b)
	if err != nil {
		return err.Error() + "\n"
	}
	return string(b[:n])
}
