//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

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

// tellEvery is how often is said what a boot waits for: where it does not take long, nobody
// reads of it.
const tellEvery = 10 * time.Second

// tell says what the boot waits for, again and again, until it is stopped, or linkWait is over.
func (r *record) tell(what string) (stop func()) {
	done := make(chan struct{})
	go func() { // ends when it is stopped
		for waited := tellEvery; waited <= linkWait; waited += tellEvery {
			select {
			case <-done:
				return
			case <-time.After(tellEvery):
				r.logf("%s (it has waited %.0f s)", what, waited.Seconds())
			}
		}
	}()
	return func() { close(done) }
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

// consoles are all that the kernel writes on, as the screen and a serial line of a PC:
// /dev/console is but one of them.
type consoles []*os.File

func openConsoles() (all consoles) {
	names, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		names = []byte("console")
	}
	for name := range strings.FieldsSeq(string(names)) {
		if f, err := os.OpenFile("/dev/"+name, os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
			all = append(all, f)
		}
	}
	return all
}

func (c consoles) Write(b []byte) (int, error) {
	for _, f := range c {
		f.Write(b) // one may have nobody at its end
	}
	return len(b), nil
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
