package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"time"
)

const (
	// DefaultProgram is looked for in PATH.
	DefaultProgram = "qemu-system-x86_64"
	// oldest is the version of QEMU that knows datagram sockets as networks.
	oldestMajor, oldestMinor = 7, 2
	// probeLimit is how long the program may take to tell its version, and a machine that
	// only starts its firmware: as long as others, since the host may be as busy.
	probeLimit = startLimit
	// findAgain is for how long it is believed that machines cannot run here:
	// somebody may install what is missing, and the host may have been too busy.
	findAgain = time.Minute
)

var versionForm = regexp.MustCompile(`version (\d+)\.(\d+)`)

// Find looks for the program, "" for where it usually is, and finds out what it can
// do here. The error says, in words for users, why machines cannot run here.
func Find(ctx context.Context, program string) (Emulator, error) {
	return find(ctx, program, probeLimit)
}

func find(ctx context.Context, program string, limit time.Duration) (Emulator, error) {
	if program == "" {
		program = DefaultProgram
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return Emulator{}, fmt.Errorf("there is no program %s", program)
	}
	out, err := ask(ctx, limit, path, "--version")
	if err != nil {
		return Emulator{}, fmt.Errorf("%s --version: %w", path, err)
	}
	v := versionForm.FindSubmatch(out)
	if v == nil {
		return Emulator{}, fmt.Errorf("%s does not tell its version", path)
	}
	major, _ := strconv.Atoi(string(v[1])) // digits, see versionForm
	minor, _ := strconv.Atoi(string(v[2]))
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return Emulator{}, fmt.Errorf("%s is version %d.%d, and %d.%d is the oldest that serves", path, major, minor, oldestMajor, oldestMinor)
	}
	if _, err := os.Stat("/dev/kvm"); err == nil {
		if e := (Emulator{Program: path, KVM: true}); e.runs(ctx, limit) == nil {
			return e, nil
		}
	}
	e := Emulator{Program: path}
	if err := e.runs(ctx, limit); err != nil {
		return Emulator{}, fmt.Errorf("a machine of %s does not run: %w", path, err)
	}
	return e, nil
}

// finder is Find, which takes a second or two, for who asks again and again.
type finder struct {
	program string

	mu     sync.Mutex // held while somebody looks: others wait for what comes of it
	found  Emulator
	err    error
	looked time.Time // zero before the first time
}

func (f *finder) find() (Emulator, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looked.IsZero() || f.err != nil && time.Since(f.looked) > findAgain {
		f.found, f.err = Find(context.Background(), f.program)
		f.looked = time.Now()
	}
	return f.found, f.err
}

// doubt has the program be looked at again before the next machine starts, since one did
// not: it may be another one than it was, or its host may be. Machines that never start
// are no reason to do that again and again.
func (f *finder) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) > findAgain {
		f.looked = time.Time{}
	}
}

// runs starts a machine and waits for its end: a device file that is there says
// little. The firmware finds nothing to boot and resets the machine, which ends it.
func (e Emulator) runs(ctx context.Context, limit time.Duration) error {
	arguments := append(e.processor(), "-m", "32", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-boot", "reboot-timeout=1")
	_, err := ask(ctx, limit, e.Program, arguments...)
	return err
}

// ask runs a program, which has to end in time, and returns what it wrote. An error has
// the last of that.
func ask(ctx context.Context, limit time.Duration, program string, arguments ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := exec.CommandContext(ctx, program, arguments...)
	c.WaitDelay = limit / 10 // for what the program started, and what can still write
	out, err := c.CombinedOutput()
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it has not ended within %v", limit)
	case err != nil && len(out) > 0:
		return nil, fmt.Errorf("%w: %s", err, lastLine(out))
	}
	return out, err
}

// lastLine is the last of what a program wrote.
func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}
