//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// watchShutdown notices shutdowns that the server did not order. An init that shows none
// ends all processes with SIGTERM.
func (m *machine) watchShutdown() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-signals:
			if !strings.HasPrefix(initName(), "systemd") {
				m.orders.resetIfItHangs(instructions.Reboot)
			}
		case <-tick.C:
			m.orders.clock.watch()
			line, _ := os.ReadFile("/proc/1/cmdline") // there is a process 1
			if what := shutdownOf(initName(), string(line)); what != "" {
				m.orders.resetIfItHangs(what)
			}
		}
	}
}

// shutdownOf is what a machine is about to do whose process 1 has this name and these
// arguments, each with a zero byte behind it; "" when it does not shut down. systemd has
// only its last process tell: see limitSystemd.
func shutdownOf(name, arguments string) string {
	switch {
	case strings.HasPrefix(name, "systemd-shut"):
		if strings.Contains(arguments, "\x00poweroff\x00") || strings.Contains(arguments, "\x00halt\x00") {
			return instructions.Poweroff
		}
		return instructions.Reboot
	case strings.HasPrefix(arguments, "init [6]"): // the runlevel of sysvinit
		return instructions.Reboot
	case strings.HasPrefix(arguments, "init [0]"):
		return instructions.Poweroff
	case name == "runit" && inStage3("/proc"):
		if marked("reboot") {
			return instructions.Reboot
		}
		return instructions.Poweroff
	}
	return ""
}

// inStage3 reports whether runit has begun its last stage, whose program it runs as a
// child; see runit(8). Of the mark that tells it to do so nothing is left by then.
func inStage3(proc string) bool {
	all, err := os.ReadDir(proc)
	if err != nil {
		return false
	}
	for _, e := range all {
		arguments, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
		if err != nil || !slices.Contains(strings.Split(string(arguments), "\x00"), "/etc/runit/3") {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join(proc, e.Name(), "stat")) // without, it has ended
		// Behind its name, which may hold anything, are its state and its parent.
		words := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(words) > 1 && words[1] == "1" {
			return true
		}
	}
	return false
}

// marked reports whether one of the files is marked that tell runit what to do, as
// runit(8) says: its owner may execute it. Debian has them elsewhere.
func marked(name string) bool {
	for _, where := range []string{"/run/runit.", "/etc/runit/"} {
		if info, err := os.Stat(where + name); err == nil && info.Mode()&0o100 != 0 {
			return true
		}
	}
	return false
}

// isSystemd reports whether an init of the root of its thread is systemd.
func isSystemd(init string) bool {
	program, err := filepath.EvalSymlinks(init)
	return err == nil && filepath.Base(program) == "systemd"
}

// limitSystemd has systemd cut a shutdown short that hangs: nothing outside of it tells
// that one has begun, while services are stopped. It is for systemd alone: whoever finds
// the directory takes it for the init.
func limitSystemd() (err error) {
	for target, action := range map[string]string{"reboot": "reboot-immediate", "poweroff": "poweroff-immediate"} {
		text := fmt.Sprintf("[Unit]\nJobTimeoutSec=%d\nJobTimeoutAction=%s\n", int(hangs.Seconds()), action)
		err = errors.Join(err, replace("/run/systemd/system/"+target+".target.d/walt.conf", []byte(text), 0o644))
	}
	return err
}
