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
	sum        time.Duration // for so long it had nothing to do until now
	last, idle time.Duration // when that was last looked at, and how idle it had been
}

// over reports whether the machine has had nothing to do for sshdQuiet. It is to be
// called again and again.
func (p *quiet) over() bool {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return true
	}
	idle, processors := idleTime(string(b))
	return p.at(time.Duration(uptime()*float64(time.Second)), idle, processors)
}

// at is over at a time, for a machine with so many processors that was idle for so long
// until then.
func (p *quiet) at(now, idle time.Duration, processors int) bool {
	passed := now - p.last
	if passed < time.Second {
		return false
	}
	if idle-p.idle < time.Duration(processors)*passed-passed/2 { // at first of all that was before
		p.sum = 0
	} else if p.last > 0 {
		p.sum += passed
	}
	p.last, p.idle = now, idle
	return p.sum >= sshdQuiet
}

// idleTime is for how long the processors, all together, had nothing to do, nor waited
// for what is read, and how many they are, from the text of /proc/stat; see proc(5).
// What they did have to do is not all in there: a virtual processor that waits for a
// real one misses some of its ticks.
func idleTime(text string) (sum time.Duration, processors int) {
	const tick = 10 * time.Millisecond
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 5 || !strings.HasPrefix(words[0], "cpu") {
			continue
		}
		if words[0] != "cpu" {
			processors++
		} else if n, err := strconv.ParseInt(words[4], 10, 64); err == nil {
			sum = time.Duration(n) * tick
		}
	}
	return sum, processors
}
