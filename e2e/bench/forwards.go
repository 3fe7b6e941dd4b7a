//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

const (
	// passed is how much is passed through a forward, in bytes.
	passed = 1 << 30
	// many is almost as many forwards as a user may have open.
	many = 200
)

// forwards measures what users meet who reach a simulated node with programs of their own,
// beside "node run", which is the server's way there.
func (b *bench) forwards(l *lab.Lab) error {
	if err := runScript(l, user, "node create n1 --model rpi-3-b\nnode wait n1\n"); err != nil {
		return err
	}
	for _, measure := range []func(*lab.Lab) error{b.roundTrip, b.manyForwards, b.passes} {
		if err := measure(l); err != nil {
			return err
		}
	}
	return nil
}

// roundTrip measures a command on the node, on connections of its own, both ways in turns.
func (b *bench) roundTrip(l *lab.Lab) error {
	var jumps, runs []time.Duration
	for range 51 {
		for to, c := range map[*[]time.Duration]*exec.Cmd{&jumps: jump(l, "true"), &runs: run(l, "true")} {
			start := time.Now()
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("a command on the node: %w: %s", err, out)
			}
			*to = append(*to, time.Since(start))
		}
	}
	b.print(line{figure: "real ssh, cold: ssh -J lab n1 true, p50", got: median(jumps), unit: "ms", base: median(runs), to: "node run", most: 4})
	return nil
}

// jump is the client of OpenSSH that runs a command on the node, through the server.
func jump(l *lab.Lab, command string) *exec.Cmd {
	way := strings.Join(l.SSH(user, []string{"-W", "%h:%p"}).Args, " ")
	return exec.Command("ssh", "-F", "none", "-i", l.Key(user), "-o", "ProxyCommand="+way, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@n1", command)
}

// run is the client that has the server run it there.
func run(l *lab.Lab, command string) *exec.Cmd {
	return l.SSH(user, nil, "node", "run", "n1", command)
}

// manyForwards opens many forwards at once on one connection, until the node has said its
// first line over each, and keeps them for a while.
func (b *bench) manyForwards(l *lab.Lab) error {
	c, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	var taken time.Duration
	grown, waited, err := b.beside(l, func() error {
		start := time.Now()
		var opening errgroup.Group
		for range many {
			opening.Go(func() error {
				conn, err := c.Dial("tcp", "n1:22") // open as long as c is
				if err != nil {
					return err
				}
				_, err = bufio.NewReader(conn).ReadString('\n')
				return err
			})
		}
		err := opening.Wait()
		taken = time.Since(start)
		time.Sleep(settle)
		return err
	})
	if err != nil {
		return fmt.Errorf("open %d forwards: %w", many, err)
	}
	b.say(fmt.Sprintf("%d forwards at once, until the node spoke over each", many), ms(taken), 2000, "ms")
	b.say(fmt.Sprintf("%d forwards at once: resident memory grows by", many), grown, 32, "MiB")
	b.say(fmt.Sprintf("%d forwards at once: warm whoami of another connection, p50", many), waited, 5, "ms")
	return nil
}

// passes has a lot pass to the node and from it, both ways, and measures what the server takes
// for the forward, and how long somebody else waits meanwhile.
func (b *bench) passes(l *lab.Lab) error {
	for _, direction := range []struct{ name, command string }{
		{"to a node", "cat >/dev/null"},
		{"from a node", fmt.Sprintf("head -c %d /dev/zero", passed)},
	} {
		rate := func(c *exec.Cmd) (float64, error) {
			var got count
			c.Stdin, c.Stdout = io.LimitReader(zeros{}, passed), &got
			start := time.Now()
			err := c.Run()
			if size := int64(got); err == nil && size != 0 && size != passed {
				err = fmt.Errorf("%d bytes came", size)
			}
			return passed / (1 << 20) / time.Since(start).Seconds(), err
		}
		// From a fresh start, so that no memory of what was before is used again.
		if err := errors.Join(l.Stop(), l.Start(), runScript(l, user, "node wait n1\n")); err != nil {
			return err
		}
		var got float64
		grown, waited, err := b.beside(l, func() (err error) {
			got, err = rate(jump(l, direction.command))
			return err
		})
		if err != nil {
			return err
		}
		base, err := rate(run(l, direction.command))
		if err != nil {
			return err
		}
		b.print(line{figure: "1 GiB " + direction.name + ": ssh -J", got: got, unit: "MiB/s", base: base, to: "node run"})
		b.say("1 GiB "+direction.name+": resident memory grows by", grown, 32, "MiB")
		b.say("1 GiB "+direction.name+": warm whoami of another connection, p50", waited, 50, "ms")
	}
	return nil
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// count is how many bytes were written.
type count int64

func (c *count) Write(p []byte) (int, error) {
	*c += count(len(p))
	return len(p), nil
}

// beside does something, and returns by how many MiB the memory of the server grew at most
// meanwhile, and how many ms somebody else waited for a command, the median.
func (b *bench) beside(l *lab.Lab, do func() error) (grown, waited float64, err error) {
	c, err := l.Dial(user)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	before, err := resident(l.Pid())
	if err != nil {
		return 0, 0, err
	}
	var all []time.Duration
	peak, err := most(l.Pid(), func() error {
		done := make(chan error, 1)
		go func() { done <- do() }() // ends with what is done
		for ; ; time.Sleep(50 * time.Millisecond) {
			taken, err := timed(c, "whoami")
			if err != nil {
				return err
			}
			all = append(all, taken)
			select {
			case err := <-done:
				return err
			default:
			}
		}
	})
	if err != nil {
		return 0, 0, err
	}
	return max(0, peak-before) / 1024, median(all), nil
}
