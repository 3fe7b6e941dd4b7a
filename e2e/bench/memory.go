//go:build linux

package main

import (
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// settle is how long the server is left alone before its memory is read.
const settle = 3 * time.Second

// empty measures a server that has nothing to do yet.
func (b *bench) empty(l *lab.Lab) error {
	time.Sleep(settle)
	kib, err := resident(l.Pid())
	if err != nil {
		return err
	}
	b.say("resident memory with an empty lab", kib/1024, 40, "MiB")
	return nil
}

// idle measures the memory of users who are there and do nothing.
func (b *bench) idle(l *lab.Lab) error {
	const logins = 1000
	for _, hold := range []struct {
		name  string
		limit float64
		open  func(*ssh.Client) error
	}{
		{"idle login", 60, func(*ssh.Client) error { return nil }},
		{"idle shell", 100, openShell},
	} {
		// From a fresh start, so that no memory of what was before is used again.
		if err := l.Stop(); err != nil {
			return err
		}
		if err := l.Start(); err != nil {
			return err
		}
		time.Sleep(settle)
		before, err := resident(l.Pid())
		if err != nil {
			return err
		}
		clients := make([]*ssh.Client, logins)
		var all errgroup.Group
		all.SetLimit(8)
		for i := range clients {
			all.Go(func() (err error) {
				if clients[i], err = l.Dial(user); err != nil {
					return err
				}
				return hold.open(clients[i])
			})
		}
		err = all.Wait()
		time.Sleep(settle)
		held, errHeld := resident(l.Pid())
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
		if err != nil {
			return err
		}
		if errHeld != nil {
			return errHeld
		}
		b.say(fmt.Sprintf("%s, of %d", hold.name, logins), (held-before)/logins, hold.limit, "KiB")
	}
	return nil
}

// openShell opens a shell on a terminal, which waits for input that never comes.
func openShell(c *ssh.Client) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		return err
	}
	if _, err := s.StdinPipe(); err != nil {
		return err
	}
	return s.Shell()
}

// start measures from starting the program to the first login, after an orderly
// end and after none.
func (b *bench) start(l *lab.Lab) error {
	for _, after := range []struct {
		name  string
		end   func() error
		limit float64
	}{
		{"a stop", l.Stop, 100},
		{"kill -9", l.Kill, 400},
	} {
		var all []time.Duration
		for range 7 {
			if err := after.end(); err != nil {
				return err
			}
			begin := time.Now()
			if err := l.Start(); err != nil {
				return err
			}
			c, err := l.Dial(user)
			if err != nil {
				return err
			}
			all = append(all, time.Since(begin))
			c.Close()
			// Something to lose, and to replay.
			if _, err := l.Run("node acquire free-nodes\nnode release my-nodes\n", user); err != nil {
				return err
			}
		}
		b.say("start to first login, 1000 nodes, after "+after.name+", p50", median(all), after.limit, "ms")
		b.say("start to first login, 1000 nodes, after "+after.name+", worst", ms(worst(all)), 0, "ms")
	}
	return nil
}
