package qemu

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"walt/console"
	"walt/fault"
	"walt/nodes"
)

// limited is a lab with limits, and nothing else.
type limited struct {
	Lab
	limits nodes.Limits
}

func (l limited) Limits() nodes.Limits { return l.limits }

// A machine starts if there is room for it beside those that run; one that runs is
// counted, whatever the limits are by now.
func TestRoom(t *testing.T) {
	t.Parallel()
	h, err := New(Config{Dir: "/m", Lab: limited{limits: nodes.Limits{Memory: 1024, CPUs: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	lives := map[nodes.Name]*life{}
	enter := func(n nodes.Name, mib int64, cpus int, runs bool) error {
		if lives[n] == nil {
			_, l, _, err := h.begin(n)
			if err != nil {
				t.Fatal(err)
			}
			lives[n] = l
		}
		return h.enter(lives[n], n, Spec{Memory: mib << 20, CPUs: cpus}, runs)
	}
	refused := func(err error, why string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	for range 2 { // it starts anew
		if err := enter("vm1", 512, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	refused(enter("vm2", 513, 1, false), "1 machine takes 512 MiB of the 1 GiB that machines may take, and vm2 would take 513 MiB")
	refused(enter("vm2", 256, 3, false), "vm2 would have 3 processors")
	if err := enter("vm2", 2048, 1, true); err != nil {
		t.Error(err)
	}
	refused(enter("vm3", 256, 1, false), "2 machines take 2560 MiB")
	h.exit(lives["vm2"])
	if err := enter("vm3", 256, 1, false); err != nil {
		t.Error(err)
	}
}

// Nobody but the server's user looks into what belongs to a machine.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "machines", "one")
	program := filepath.Join(t.TempDir(), "qemu")
	script(t, program, "echo it complains >&2\nexit 1")
	_, err := Emulator{Program: program}.start(t.Context(), dir, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1})
	if err == nil || !strings.Contains(err.Error(), "it complains") {
		t.Fatal(err)
	}
	r, err := console.OpenRing(filepath.Join(dir, serialLog), 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it turns
		if _, err := r.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"..": 0o700, ".": 0o700, processLog: 0o600, serialLog: 0o600, serialLog + ".old": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// A disk without room for any of many machines is in the log once, until one starts.
func TestNoRoomIsToldOnce(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	h, err := New(Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		why := h.full("v1", fmt.Errorf("write: %w", syscall.ENOSPC))
		if f := fault.As(why); f == nil || !strings.Contains(f.Msg, "is full") {
			t.Errorf("users are told %v", why)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("the log has %d lines:\n%s", n, &log)
	}
}
