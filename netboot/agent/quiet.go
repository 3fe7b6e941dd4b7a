//go:build linux

package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// quiet waits for a machine that starts its programs: not for a time, which is too
// short for a slow one, but until it has nothing to do.
type quiet struct {
	sum        time.Duration // for so long it had nothing to do
	last, busy time.Duration // when that was last looked at, and how busy it had been
}

// over reports whether the machine has had nothing to do for sshdQuiet. It is to be
// called again and again.
func (p *quiet) over() bool {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return true
	}
	return p.at(time.Duration(uptime()*float64(time.Second)), busyTime(string(b)))
}

// at is over at a time, for a machine that was busy for so long until then.
func (p *quiet) at(now, busy time.Duration) bool {
	passed := now - p.last
	if passed < time.Second {
		return false
	}
	if p.last > 0 && busy-p.busy < passed/2 {
		p.sum += passed
	}
	p.last, p.busy = now, busy
	return p.sum >= sshdQuiet
}

// busyTime is for how long the processors, all together, worked or waited for what is
// read, from the text of /proc/stat; see proc(5).
func busyTime(text string) (sum time.Duration) {
	const tick = 10 * time.Millisecond
	line, _, _ := strings.Cut(text, "\n")
	for i, word := range strings.Fields(line) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil && i != 4 && i <= 8 { // 4 is idle, after 8 it is part of others
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
