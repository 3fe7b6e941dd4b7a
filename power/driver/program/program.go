// Package program has a program of the administrators' switch outlets: PROGRAM
// on|off|cycle|status PORT, status 0 for done, 1 for failed, 2 for not supported. It is no
// shell: nothing of its words is expanded. Its one surprising rule: the program is looked at
// before each run, and not run when somebody other than root or the server's user could
// have changed it.
package program

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"walt/fault"
	"walt/power/driver"
)

const (
	// mostOutput is how many bytes are read of what a program writes, of each stream.
	mostOutput = 64 << 10
	// searchPath is the PATH of programs.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// killLimit is how long a supervisor may take to end all that a program has started.
	killLimit = 20 * time.Second
)

// What a program ends with.
const (
	failed       = 1
	notSupported = 2
)

// Program is a driver.Means.
type Program struct {
	words []string // the program, and what its arguments begin with
}

// New returns the program of the path that is the first of the words.
func New(words []string) *Program { return &Program{words} }

// Status implements driver.Means: the first word that the program writes.
func (p *Program) Status(ctx context.Context, t driver.Target) (driver.State, error) {
	out, err := p.run(ctx, "status", t)
	if err != nil {
		return driver.Unknown, err
	}
	word, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	switch s := driver.State(strings.ToLower(strings.TrimSpace(word))); s {
	case driver.On, driver.Off, driver.Unknown:
		return s, nil
	}
	return driver.Unknown, fault.Failedf("%s status %s writes %q, neither on nor off nor unknown", p.words[0], t.Port, driver.Clean(word)).
		WithHint("correct the program")
}

// Switch implements driver.Means.
func (p *Program) Switch(ctx context.Context, t driver.Target, on bool) error {
	verb := "off"
	if on {
		verb = "on"
	}
	_, err := p.run(ctx, verb, t)
	return err
}

// Cycle implements driver.Cycler: for how long is the program's to know.
func (p *Program) Cycle(ctx context.Context, t driver.Target, _ time.Duration) error {
	_, err := p.run(ctx, "cycle", t)
	return err
}

// Close implements driver.Means.
func (p *Program) Close() error { return nil }

// run runs the program under a supervisor, and returns what it wrote. When ctx ends, or this
// process, the program is killed with whatever it started.
func (p *Program) run(ctx context.Context, verb string, t driver.Target) (string, error) {
	if err := Check(p.words[0]); err != nil {
		return "", driver.Refusal{Err: fault.Failedf("%v", err)}
	}
	if os.Args[0] == supervisor {
		panic("package program: nobody called Supervise")
	}
	self, err := executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = slices.Concat([]string{supervisor}, p.words, []string{verb, t.Port})
	cmd.Env = []string{"PATH=" + searchPath, "WALT_NODE=" + t.Node}
	cmd.Dir = "/"
	alive, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	cmd.Cancel, cmd.WaitDelay = alive.Close, killLimit
	var out, told bounded
	cmd.Stdout, cmd.Stderr = &out, &told
	err = cmd.Run()
	if err == nil {
		return string(out.kept), nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended {
		return "", fault.Failedf("cannot run %s: %v", p.words[0], err)
	}
	how := exit.Error()
	switch code := exit.ExitCode(); {
	case code == notSupported:
		return "", driver.ErrNotSupported
	case code == failed:
		return "", fault.Failedf("%s %s %s failed: %s", p.words[0], verb, t.Port, reason(string(told.kept)))
	case code == cannotRun:
		return "", driver.Refusal{Err: fault.Failedf("cannot run %s: %s", p.words[0], reason(string(told.kept))).WithHint("correct the program, or its path in the server's file")}
	case code > killed && code < killed+32: // others end by themselves with what is above
		how = "signal: " + syscall.Signal(code-killed).String()
	}
	return "", fault.Failedf("%s %s %s ended with %s: %s", p.words[0], verb, t.Port, how, reason(string(told.kept))).WithHint("it should end with 0, 1 or 2 (see: help show power)")
}

// reason is the last line of what a program wrote.
func reason(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := driver.Clean(lines[len(lines)-1]); last != "" {
		return last
	}
	return "it gives no reason"
}

// bounded keeps the first mostOutput bytes that are written to it.
type bounded struct{ kept []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), mostOutput-len(b.kept))]...)
	return len(p), nil
}
