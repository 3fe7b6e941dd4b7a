//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"walt/api"
	"walt/e2e/lab"
)

// acquire measures what the server itself takes of the time from an acquire of a node
// that is off until it is up: until its machine is started, and from hearing that it is
// up until who waits is told. And what it writes for a node that changes its image.
func (p *pool) acquire() error {
	var own []time.Duration
	for range p.rounds {
		if err := p.do("node release node-0", "node off node-0 --hard"); err != nil {
			return err
		}
		asked := time.Now()
		if err := p.do("node acquire node-0", "node wait node-0 --timeout 300s"); err != nil {
			return err
		}
		told := time.Now()
		pid, err := p.process("node-0")
		if err != nil {
			return err
		}
		started, err := startOf(pid)
		if err != nil {
			return err
		}
		var log struct{ Events []api.Event }
		if err := p.answer("log show --issuers node-0 --type state", &log); err != nil {
			return err
		}
		last := len(log.Events) - 1
		if last < 0 || log.Events[last].To != "up" {
			return fmt.Errorf("the log does not say when node-0 was up: %+v", log)
		}
		own = append(own, started.Sub(asked)+told.Sub(log.Events[last].Time))
	}
	p.say("acquire to up of a node that is off: the server's own share, p50", median(own), 100, "ms")

	before, err := written(p.Pid())
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := p.do("node boot node-0 debian", "node wait node-0 --timeout 300s", "node off node-0 --hard"); err != nil {
		return err
	}
	after, err := written(p.Pid())
	if err != nil {
		return err
	}
	p.say("a node boots another image: until it is up", time.Since(begun).Seconds(), 0, "s")
	p.say("a node boots another image: the server and its machines write", (after-before)/1e6, 1, "MB")
	return p.do("node on "+debian, "node wait "+debian+" --timeout 300s")
}

// restart kills the server under machines that are up, and starts it again at once. It
// measures from then on until all of them have read a file from it for a user.
func (p *pool) restart(nodes ...string) error {
	const read = "echo 3 > /proc/sys/vm/drop_caches; wc -c < /bin/busybox; cat /proc/sys/kernel/random/boot_id"
	set := strings.Join(nodes, ",")
	if err := p.do("node on "+set, "node wait "+set+" --timeout 300s"); err != nil {
		return err
	}
	before := make([]string, len(nodes))
	for i, node := range nodes {
		out, err := p.Run("", lab.Admin, "node", "run", node, read)
		if err != nil {
			return err
		}
		before[i] = out
	}
	worst := time.Duration(0)
	for range p.rounds {
		p.client.Close()
		if err := p.Kill(); err != nil {
			return err
		}
		begun := time.Now()
		if err := p.Start(); err != nil {
			return err
		}
		var all errgroup.Group
		for i, node := range nodes {
			all.Go(func() error {
				out, err := p.Run("", lab.Admin, "node", "run", node, read)
				for err != nil && time.Since(begun) < upLimit {
					out, err = p.Run("", lab.Admin, "node", "run", node, read)
				}
				if err == nil && out != before[i] {
					err = fmt.Errorf("%s was rebooted: %q, before %q", node, out, before[i])
				}
				return err
			})
		}
		if err := all.Wait(); err != nil {
			return err
		}
		worst = max(worst, time.Since(begun))
		var err error
		if p.client, err = p.Dial(lab.Admin); err != nil {
			return err
		}
	}
	p.say(fmt.Sprintf("kill -9 of the server under %d machines: until all answer, worst", len(nodes)), worst.Seconds(), 5, "s")
	return p.do("node off " + set + " --hard")
}

// startOf is when a process was started, to 10 ms: proc(5).
func startOf(pid int) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // past the name of the program
	ticks, err := strconv.Atoi(strings.Fields(rest)[19])
	if err != nil {
		return time.Time{}, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(time.Duration(ticks)*10*time.Millisecond - time.Duration(now.Nano())), nil
}

// written is how many bytes a process, and those that it started and that ended, had
// the disk write: proc(5).
func written(pid int) (float64, error) {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(io)) {
		if value, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("process %d has no write_bytes", pid)
}

// traffic measures what a Debian that is up has received and sent.
func (p *pool) traffic() error {
	if err := p.do("node on "+debian, "node wait "+debian+" --timeout 300s"); err != nil {
		return err
	}
	out, err := p.Run("", lab.Admin, "node", "run", debian, "cat /sys/class/net/e*/statistics/[rt]x_bytes")
	if err != nil {
		return err
	}
	sum := 0.0
	for _, word := range strings.Fields(out) {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return err
		}
		sum += n
	}
	p.say("one boot of Debian moves", sum/1e6, 60, "MB")
	return p.do("node off " + debian + " --hard")
}

// turns replays the boot of a Debian for many machines at once, on one link.
func (p *pool) turns(m model) error {
	const machines = 60
	t, err := p.shop.record(m)
	if err != nil {
		return err
	}
	p.say("one boot of Debian asks the NFS server", float64(len(t.calls)), 0, "times")
	first, last, alone, err := t.replay(p.shop, machines)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d boots of Debian replayed at once on a gigabit link: the ", machines)
	p.print(line{figure: name + "first", got: first.Seconds(), unit: "s", base: alone.Seconds(), to: "its bytes"})
	p.print(line{figure: name + "last", got: last.Seconds(), unit: "s", base: alone.Seconds(), to: "its bytes", most: 1.2})
	return nil
}
