//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// contender is one server that the same ssh asks for the same text.
type contender struct {
	name  string
	ssh   func() *exec.Cmd
	taken []time.Duration
}

// cold measures a command on a connection of its own, through the real ssh,
// beside OpenSSH's sshd with a forced command and a bare wish server.
func (b *bench) cold(l *lab.Lab) error {
	const rounds = 101
	options := []string{"-o", "KexAlgorithms=curve25519-sha256"}
	show := func() *exec.Cmd { return l.SSH(user, options, "node", "show", "--all") }
	text, err := show().Output()
	if err != nil {
		return fmt.Errorf("node show --all: %w", err)
	}
	sshd, err := startSSHD(l, text)
	if err != nil {
		return fmt.Errorf("OpenSSH's sshd: %w", err)
	}
	defer sshd.stop()
	wish, err := startWish(l, text)
	if err != nil {
		return fmt.Errorf("bare wish: %w", err)
	}
	defer wish.stop()
	all := []*contender{
		{name: "walt", ssh: show},
		{name: "sshd", ssh: func() *exec.Cmd { return sshd.ssh(l, options) }},
		{name: "wish", ssh: func() *exec.Cmd { return wish.ssh(l, options) }},
	}
	for range rounds {
		for _, c := range all {
			start := time.Now()
			out, err := c.ssh().Output()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.taken = append(c.taken, time.Since(start))
			if bytes.Count(out, []byte("\n")) != bytes.Count(text, []byte("\n")) {
				return fmt.Errorf("%s answered %q", c.name, out)
			}
		}
	}
	walt, openssh, bare := median(all[0].taken), median(all[1].taken), median(all[2].taken)
	b.say("real ssh, cold, 100 nodes: OpenSSH's sshd with a forced command", openssh, 0, "ms")
	b.say("real ssh, cold, 100 nodes: a bare wish server", bare, 0, "ms")
	b.print(line{figure: "real ssh, cold, 100 nodes: node show --all", got: walt, unit: "ms", base: openssh, to: "sshd", most: 0.25})
	b.print(line{figure: "real ssh, cold, 100 nodes: node show --all", got: walt, unit: "ms", base: bare, to: "bare wish", most: 1.3})
	bareCPU, err := coldCPU(wish.pid, all[2].ssh)
	if err != nil {
		return err
	}
	waltCPU, err := coldCPU(l.Pid(), show)
	if err != nil {
		return err
	}
	busyCPU, err := coldLoad(l)
	if err != nil {
		return err
	}
	b.say("server CPU of a cold command, four clients at a time", busyCPU, 2.5, "ms")
	b.print(line{figure: "server CPU of a cold command, one real ssh at a time", got: waltCPU, unit: "ms", base: bareCPU, to: "bare wish", most: 1.5})
	b.say("server CPU of a cold command, the same: a bare wish server", bareCPU, 0, "ms")
	return nil
}

// coldLoad is what one command costs a server that has others to do as well:
// without the idle moments between them, in which the processor winds down.
func coldLoad(l *lab.Lab) (float64, error) {
	const clients, rounds = 4, 200
	before, err := cpu(l.Pid())
	if err != nil {
		return 0, err
	}
	var g errgroup.Group
	for range clients {
		g.Go(func() error {
			for range rounds {
				c, err := l.Dial(user)
				if err != nil {
					return err
				}
				_, err = timed(c, "node show --all")
				if err := errors.Join(err, c.Close()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	after, err := cpu(l.Pid())
	return ms(after-before) / (clients * rounds), err
}

// coldCPU is what one command costs a server that does nothing else, in ms. Much of it
// is of the machine: before each command the processor has wound down, and forgotten the
// program: this server takes twice what it takes for each of four clients at a time.
// What a bare server takes in the same way is the measure.
func coldCPU(pid int, ssh func() *exec.Cmd) (float64, error) {
	const rounds = 300
	before, err := cpu(pid)
	if err != nil {
		return 0, err
	}
	for range rounds {
		if err := ssh().Run(); err != nil {
			return 0, err
		}
	}
	after, err := cpu(pid)
	return ms(after-before) / rounds, err
}
