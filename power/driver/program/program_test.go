package program

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walt/fault"
	"walt/power/driver"
)

func TestMain(m *testing.M) {
	Supervise() // which the tests are, too
	os.Exit(m.Run())
}

// script makes a program of shell commands.
func script(t *testing.T, body string) (p *Program, dir string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "switch")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncd "+dir+"\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return New([]string{path, "--rack", "a b"}), dir
}

var target = driver.Target{Port: "1-1.4:2", Node: "rpi-3"}

func TestProgramIsRunAsItIsWritten(t *testing.T) {
	t.Setenv("SECRET", "of the server")
	p, dir := script(t, `for a in "$@"; do echo "$a"; done > args; cat /proc/$$/environ - > env; echo done; echo noise >&2`)
	if err := p.Switch(t.Context(), target, true); err != nil {
		t.Fatal(err)
	}
	args, _ := os.ReadFile(filepath.Join(dir, "args"))
	if want := "--rack\na b\non\n1-1.4:2\n"; string(args) != want {
		t.Errorf("arguments %q, want %q", args, want)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "env"))
	if want := "PATH=" + searchPath + "\x00WALT_NODE=rpi-3\x00"; string(env) != want {
		t.Errorf("environment and input %q, want %q", env, want)
	}
}

func TestProgramsStatus(t *testing.T) {
	for body, want := range map[string]driver.State{"echo on": "on", "echo ' OFF '; echo more": "off", "echo unknown": "unknown"} {
		p, _ := script(t, body)
		if is, err := p.Status(t.Context(), target); err != nil || is != want {
			t.Errorf("%s: %s, %v, want %s", body, is, err, want)
		}
	}
}

func TestProgramThatFails(t *testing.T) {
	for body, want := range map[string]string{
		`echo first >&2; printf 'no \033[31mhub\a\n' >&2; exit 1`: "failed: no  [31mhub",
		`exit 1`:               "failed: it gives no reason",
		`echo odd >&2; exit 3`: "ended with exit status 3: odd",
		`exit 255`:             "ended with exit status 255: it gives no reason",
		`kill -9 $$`:           "ended with signal: killed: it gives no reason",
		`kill -9 0`:            "ended with signal: killed: it gives no reason",
		`yes x | head -c 300000 >&2; yes long | head -c 9000 | tr '\n' y >&2; exit 1`: "failed: x",
	} {
		p, _ := script(t, body)
		err := p.Switch(t.Context(), target, false)
		if err == nil || !strings.Contains(fault.Reason(err), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	p, _ := script(t, "echo perhaps")
	if _, err := p.Status(t.Context(), target); err == nil || !strings.Contains(fault.Reason(err), `writes "perhaps", neither`) {
		t.Error(err)
	}
	p, _ = script(t, "exit 2")
	if err := p.Cycle(t.Context(), target, time.Second); !errors.Is(err, driver.ErrNotSupported) {
		t.Error(err)
	}
}

func TestProgramThatHangsIsKilledWithAllThatItStarted(t *testing.T) {
	p, dir := script(t, "sleep 1000 & echo $! > child; mv child children; wait")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Switch(ctx, target, true) }()
	child := awaitFile(filepath.Join(dir, "children"))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	mustEnd(t, child)
}

// What leaves the session of the program, and its parent, is killed with it all the same.
func TestProgramThatHangsIsKilledWithWhatHidesFromIt(t *testing.T) {
	p, dir := script(t, "(setsid sh -c 'echo $$ > child; mv child children; exec sleep 1000' >/dev/null 2>&1 &); wait; sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Switch(ctx, target, true) }()
	child := awaitFile(filepath.Join(dir, "children"))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	mustEnd(t, child)
}

// Nothing goes on, and switches late, when the server is killed.
func TestProgramEndsWithTheServer(t *testing.T) {
	if path := os.Getenv("WALT_TEST_PROGRAM"); path != "" {
		_ = New([]string{path}).Switch(t.Context(), target, true)
		return
	}
	// It goes on writing, also when nobody reads that any more.
	p, dir := script(t, "(setsid sh -c 'echo $$ > child; mv child children; exec sleep 1000' &); trap '' PIPE; while :; do echo on; done 2>/dev/null")
	server := exec.Command(os.Args[0], "-test.run=^TestProgramEndsWithTheServer$")
	server.Env = append(os.Environ(), "WALT_TEST_PROGRAM="+p.words[0])
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	child := awaitFile(filepath.Join(dir, "children"))
	_ = server.Process.Kill()
	_ = server.Wait()
	mustEnd(t, child)
}

// awaitFile returns what a file holds, once it is there.
func awaitFile(path string) string {
	for {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// What a program that did it has left behind on purpose stays, as a machine that it started, also
// one that keeps its output.
func TestProgramLeavesWhatItStarted(t *testing.T) {
	for _, output := range []string{">/dev/null 2>&1", ""} {
		p, dir := script(t, "sh -c 'echo $$ > child; mv child children; exec sleep 1000' "+output+" & while ! [ -e children ]; do sleep 0.01; done; echo off")
		if is, err := p.Status(t.Context(), target); err != nil || is != driver.Off {
			t.Errorf("%s, %v", is, err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(awaitFile(filepath.Join(dir, "children"))))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Errorf("it is gone: %v", err)
		}
	}
}

func TestProgramThatCannotBeRun(t *testing.T) {
	p, _ := script(t, "")
	if err := os.WriteFile(p.words[0], []byte("\x7fELF"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := p.Switch(t.Context(), target, true)
	if _, refused := errors.AsType[driver.Refusal](err); !refused || !strings.Contains(fault.Reason(err), "cannot run "+p.words[0]+": ") || !strings.Contains(fault.Reason(err), "exec format error") {
		t.Errorf("%v", err)
	}
}

func TestProgramThatFailsLeavesNothingBehind(t *testing.T) {
	for ends, want := range map[string]string{"exit 1": "failed: it gives no reason", "kill -9 0": "ended with signal: killed"} {
		p, dir := script(t, "setsid sh -c 'echo $$ > child; mv child children; exec sleep 1000' & while ! [ -e children ]; do sleep 0.01; done; "+ends)
		if err := p.Switch(t.Context(), target, true); err == nil || !strings.Contains(fault.Reason(err), want) {
			t.Errorf("%s: %v, want %s", ends, err, want)
		}
		mustEnd(t, awaitFile(filepath.Join(dir, "children")))
	}
}

// mustEnd waits until a process, whose number is given as text, has ended.
func mustEnd(t *testing.T, child string) {
	t.Helper()
	pid := 0
	for _, c := range strings.TrimSpace(child) {
		pid = 10*pid + int(c-'0')
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(child) + "/stat")
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lives on: %s", pid, stat)
		}
	}
}

func TestProgramThatOthersCouldChange(t *testing.T) {
	p, dir := script(t, "touch ran")
	path := p.words[0]
	for what, change := range map[string]func(){
		"others can write " + path: func() { os.Chmod(path, 0o722) },
		"others can write " + dir:  func() { os.Chmod(path, 0o700); os.Chmod(dir, 0o770) },
		"run: chmod a+x " + path:   func() { os.Chmod(dir, 0o700); os.Chmod(path, 0o600) },
	} {
		os.Chmod(dir, 0o700)
		os.Chmod(path, 0o700)
		change()
		err := p.Switch(t.Context(), target, true)
		if _, refused := errors.AsType[driver.Refusal](err); !refused || !strings.Contains(fault.Reason(err), what) {
			t.Errorf("%v, want %s", err, what)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("it ran")
	}
	for _, bad := range []string{"relative", "/no/such/program", "/etc"} {
		if Check(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// Who may write a folder above that of a program could have another take its place.
func TestProgramBelowFoldersThatOthersCouldChange(t *testing.T) {
	top := t.TempDir()
	inner := filepath.Join(top, "lab", "bin")
	path, link := filepath.Join(inner, "switch"), filepath.Join(top, "link")
	if err := errors.Join(os.MkdirAll(inner, 0o700), os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700), os.Symlink("lab", link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, filepath.Join(link, "bin", "switch"), filepath.Join(link, "..", "lab", "bin", "switch")} {
		for mode, want := range map[os.FileMode]string{0o700: "", 0o777 | os.ModeSticky: "", 0o720: "others can write " + top, 0o777: "others can write " + top} {
			if err := os.Chmod(top, mode); err != nil {
				t.Fatal(err)
			}
			if err := Check(path); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s below a folder of mode %v: %v, want %q", path, mode, err, want)
			}
		}
	}
	if os.Getuid() != 0 {
		return
	}
	for _, others := range []string{filepath.Join(top, "lab"), link} { // in a folder where each may change what is his
		if err := errors.Join(os.Chmod(top, 0o777|os.ModeSticky), os.Lchown(others, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if err := Check(filepath.Join(link, "bin", "switch")); err == nil || !strings.Contains(err.Error(), others+" belongs to somebody else") {
			t.Errorf("%s: %v", others, err)
		}
		if err := os.Lchown(others, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(link), os.Symlink("link", link)); err != nil {
		t.Fatal(err)
	}
	if err := Check(link); err == nil || !strings.Contains(err.Error(), "too many links") {
		t.Error(err)
	}
}

// Who may write the folder of a link could have it lead to another program.
func TestProgramBehindLinkThatOthersCouldChange(t *testing.T) {
	p, dir := script(t, "touch ran")
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first"), filepath.Join(t.TempDir(), "second")
	if err := errors.Join(os.Symlink(p.words[0], second), os.Symlink(second, first), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	linked := New([]string{first})
	if err := linked.Switch(t.Context(), target, true); err != nil {
		t.Error(err)
	}
	for _, in := range []string{folder, filepath.Dir(second)} {
		if err := os.Chmod(in, 0o777); err != nil {
			t.Fatal(err)
		}
		err := linked.Switch(t.Context(), target, true)
		if err == nil || !strings.Contains(fault.Reason(err), "others can write "+in) {
			t.Errorf("%s: %v", in, err)
		}
		if err := os.Chmod(in, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// Who could change the interpreter of a script could have the server run anything.
func TestScriptWhoseInterpreterOthersCouldChange(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	path, shell := filepath.Join(dir, "switch"), filepath.Join(folder, "shell")
	if err := os.WriteFile(shell, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"#!/usr/bin/env sh":     "",
		"#!/bin/sh -e":          "",
		"#! \t" + shell + " -x": "",
		"#!":                    "",
		"/no/such/shell":        "",
		"#!/no/such/shell":      "no such file",
		"#!bin/sh":              `"bin/sh" is no absolute path`,
		"#!" + path:             "a script of a script",
	} {
		if err := os.WriteFile(path, []byte(line+"\necho on\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Check(path); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	for what, others := range map[string]string{"file": shell, "folder": folder} {
		if err := errors.Join(os.WriteFile(path, []byte("#!"+shell+"\n"), 0o755), os.Chmod(others, 0o777)); err != nil {
			t.Fatal(err)
		}
		if err := Check(path); err == nil || err.Error() != "interpreter of "+path+": others can write "+others+" (mode 0777); run: chmod go-w "+others {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.Chmod(others, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
