package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/console"
	"walt/ethernet"
	"walt/pause"
)

const (
	mac   = ethernet.MAC("52:54:00:00:00:01")
	limit = 5 * time.Minute // for whatever a machine does
)

// emulator is the real one, where tests of machines are wanted.
func emulator(t *testing.T) Emulator {
	t.Helper()
	if os.Getenv("WALT_MACHINES") == "" {
		t.Skip("WALT_MACHINES is not set: no machines are started")
	}
	e, err := Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// place is a directory for one machine. Those of the testing package are too long
// for sockets.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, folder(mac))
}

// lines are the serial lines of machines that are nobody's.
func lines(t *testing.T) *console.Lines {
	return console.New(console.Config{
		Dir: t.TempDir(), Term: func(ethernet.MAC) string { return "free" }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
		if err := pause.For(t.Context(), poll); err != nil {
			t.Fatal(err)
		}
	}
}

func ended(t *testing.T, m *Machine) {
	t.Helper()
	select {
	case <-m.Gone():
	case <-time.After(limit):
		t.Fatal("the machine goes on")
	}
	if _, err := adopt(t.Context(), m.dir, mac); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a machine is still there: %v", err)
	}
}

// A machine goes on without the server, and is found by the next one: its serial
// line, its control, and nothing that pretends to be it.
func TestMachineIsFoundAgain(t *testing.T) {
	t.Parallel()
	e, dir := emulator(t), place(t)
	m, err := e.start(t.Context(), dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	line, err := listen(dir, m.monitor, lines(t).Of(mac), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the firmware speaks", func() bool { return bytes.Contains(line.end(), []byte("iPXE")) })
	if err := line.close(); err != nil {
		t.Error(err)
	}
	m.Leave()
	if _, err := adopt(t.Context(), dir, "52:54:00:00:00:02"); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("taken for another one: %v", err)
	}
	again, err := adopt(t.Context(), dir, mac)
	if err != nil {
		t.Fatal(err)
	}
	if line, err = listen(dir, again.monitor, lines(t).Of(mac), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(line.end(), []byte("iPXE")) {
		t.Errorf("what it wrote is lost: %q", line.end())
	}
	again.Kill()
	<-line.done
	ended(t, again)
	<-m.Gone()
}

// Power that is cut is gone, even of a machine that does not listen.
func TestPowerIsCut(t *testing.T) {
	t.Parallel()
	e := emulator(t)
	for _, adopted := range []bool{false, true} {
		dir := place(t)
		m, err := e.start(t.Context(), dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1})
		if err != nil {
			t.Fatal(err)
		}
		if adopted {
			m.Leave()
			child := m
			if m, err = adopt(t.Context(), dir, mac); err != nil {
				t.Fatal(err)
			}
			defer func() { <-child.Gone() }()
		}
		if err := m.process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		m.Kill()
		ended(t, m)
	}
}

// A machine takes the place of one that was left, and does not listen any more.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	e, dir := emulator(t), place(t)
	s := Spec{MAC: mac, Memory: 64 << 20, CPUs: 1}
	before, err := e.start(t.Context(), dir, s)
	if err != nil {
		t.Fatal(err)
	}
	before.Leave()
	if err := before.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	m, err := e.start(t.Context(), dir, s)
	if err != nil {
		t.Fatal(err)
	}
	<-before.Gone()
	if err := m.monitor.do(t.Context(), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
	m.Kill()
	ended(t, m)
}

// A machine that resets itself ends, and says why.
func TestResetEndsTheProcess(t *testing.T) {
	t.Parallel()
	e, dir := emulator(t), place(t)
	m, err := e.start(t.Context(), dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	if err := m.monitor.do(t.Context(), "system_reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	ended(t, m)
	if got := m.monitor.ended(); got != "host-qmp-system-reset" {
		t.Errorf("it ended because of %q", got)
	}
	if err := m.monitor.do(t.Context(), "query-name", nil, nil); err == nil {
		t.Error("one that ended answers")
	}
}

// The machine of a server is not that of another one which has a copy of its data.
func TestMachineOfACopy(t *testing.T) {
	t.Parallel()
	own, copied := place(t), place(t)
	c := exec.Command("/bin/sh", "-c", "read line", guestName(mac))
	hold, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{own, copied} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.Dir = own
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{own, copied} {
		if err := os.WriteFile(filepath.Join(dir, processID), fmt.Appendln(nil, c.Process.Pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if process(own) == nil || process(copied) != nil {
		t.Error("it is not told whose it is")
	}
	if was, err := end(copied); was || err != nil || process(own) == nil {
		t.Error("it is ended by the other server")
	}
	if err := errors.Join(hold.Close(), c.Wait()); err != nil && c.ProcessState == nil {
		t.Error(err)
	}
}

func TestMachineThatCannotStart(t *testing.T) {
	t.Parallel()
	e := emulator(t)
	_, err := e.start(t.Context(), place(t), Spec{MAC: mac, Memory: 64 << 20, CPUs: 1, Kernel: "missing", Initrd: "missing"})
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("no kernel: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := place(t)
	if _, err := e.start(ctx, dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := adopt(t.Context(), dir, mac); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there all the same: %v", err)
	}
}

// A machine is found while it still starts, by the server after one that is killed then.
func TestMachineThatStartsIsFound(t *testing.T) {
	t.Parallel()
	dir, program := place(t), filepath.Join(t.TempDir(), "qemu")
	script(t, program, "while :; do sleep 1; done")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := Emulator{Program: program}.start(ctx, dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1})
		failed <- err
	}()
	until(t, "it is found", func() bool { return process(dir) != nil })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || process(dir) != nil {
		t.Errorf("it is there after %v", err)
	}
}

// A long path is no reason not to make a server: it is one for machines.
func TestLongPath(t *testing.T) {
	t.Parallel()
	for length, ok := range map[int]bool{longestDir: true, longestDir + 3: false} {
		h, err := New(Config{Dir: "/" + strings.Repeat("d", length-1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.reachable(); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "too long for the sockets of machines") {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}
