package qemu

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"walt/fault"
	"walt/netboot"
)

// script writes a program. No process begins meanwhile: it would have the file open, too,
// and what is open for writing cannot be run.
func script(t *testing.T, name, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestProgramsThatDoNotServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct{ says, want string }{
		"old":   {"QEMU emulator version 7.1.9", "7.2 is the oldest"},
		"older": {"QEMU emulator version 6.9.0", "7.2 is the oldest"},
		"other": {"hello", "does not tell its version"},
	} {
		program := filepath.Join(dir, name)
		script(t, program, "echo "+c.says)
		if _, err := Find(t.Context(), program); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Find(t.Context(), filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "there is no program") {
		t.Errorf("missing: %v", err)
	}
}

// A program that does not end, or whose children do not, is no program that serves; whoever
// waits for it is told soon.
func TestProgramsThatHang(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"silent": "exec sleep 60", "child": "sleep 60", "tells": "echo QEMU emulator version 9.0; sleep 60",
		"runs": "[ \"$1\" = --version ] || exec sleep 60; echo QEMU emulator version 9.0",
	} {
		program := filepath.Join(t.TempDir(), name)
		script(t, program, text)
		begun := time.Now()
		_, err := find(t.Context(), program, time.Second)
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "it has not ended within 1s") || took > 30*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}

// What machines can do here is found out once, and of a failure a while later again.
func TestFinder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "qemu")
	f := finder{program: program}
	if _, err := f.find(); err == nil {
		t.Fatal("there is none")
	}
	script(t, program, "echo >> "+dir+"/ran\necho version 8.0")
	if _, err := f.find(); err == nil {
		t.Error("it looked again at once")
	}
	f.looked = f.looked.Add(-findAgain - time.Second)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if e, err := f.find(); err != nil || e.Program != program {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	all.Wait()
	ran, err := os.ReadFile(filepath.Join(dir, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	f.looked = f.looked.Add(-findAgain - time.Second)
	if _, err := f.find(); err != nil {
		t.Error(err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "ran")); err != nil || len(again) != len(ran) || len(ran) > 2 {
		t.Errorf("it ran %d times, then %d, %v", len(ran), len(again), err)
	}
}

// prepared is what has machines boot.
type prepared struct{ Boots }

func (prepared) Prepare(context.Context, netboot.Machine) (netboot.Boot, error) {
	return netboot.Boot{}, nil
}

// A machine with less memory than its kernel takes is told so, not called an internal error.
func TestTooLittleMemory(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "qemu")
	script(t, program, "[ \"$7\" = -name ] && { echo 'qemu: initrd is too large, cannot support.(max: 884735, need 3384775)' >&2; exit 1; }\necho version 8.0")
	h, err := New(Config{Dir: t.TempDir(), Program: program, Boots: prepared{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.boot(t.Context(), netboot.Machine{}, Spec{MAC: mac, Memory: 1 << 20, CPUs: 1}, place(t))
	if f := fault.As(err); f == nil || f.Msg != "its memory has no room for its kernel" {
		t.Errorf("it fails with %v", err)
	}
}

// A program that starts no machine any more is looked at again, but not for each machine.
func TestProgramThatIsAnotherOne(t *testing.T) {
	t.Parallel()
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "qemu")
	script(t, program, "[ \"$1\" = --version ] && echo >> "+dir+"/asked\n[ \"$7\" = -name ] && exec false\necho version 8.0")
	h, err := New(Config{Dir: dir, Program: program, Boots: prepared{}})
	if err != nil {
		t.Fatal(err)
	}
	wantAsked := func(want int) {
		t.Helper()
		if _, err := h.boot(t.Context(), netboot.Machine{}, Spec{MAC: mac, Memory: 64 << 20, CPUs: 1}, place(t)); err == nil || !strings.Contains(err.Error(), "QEMU ended at once") {
			t.Errorf("it boots: %v", err)
		}
		asked, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		if len(asked) != want {
			t.Errorf("it was looked at %d times, want %d", len(asked), want)
		}
	}
	wantAsked(1)
	wantAsked(1)
	h.emulator.looked = h.emulator.looked.Add(-findAgain - time.Second)
	wantAsked(1) // this one finds that it is time
	wantAsked(2)
}
