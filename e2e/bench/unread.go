//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// unread measures the memory of the server while many clients ask for all that
// there is and read nothing of it, and how long one takes who reads.
func (b *bench) unread(l *lab.Lab) error {
	if err := makeHistory(l, 10); err != nil {
		return err
	}
	const clients = 240
	for _, command := range []string{"log show --history full --json", "log show --history full"} {
		// From a fresh start, so that no memory of what was before is used again.
		if err := errors.Join(l.Stop(), l.Start()); err != nil {
			return err
		}
		reader, err := l.Dial(user)
		if err != nil {
			return err
		}
		var all []time.Duration
		for range 5 {
			taken, err := took(reader, command)
			if err != nil {
				return err
			}
			all = append(all, taken)
		}
		reader.Close()
		b.say(command+", p50", median(all), 0, "ms")
		open := make([]*ssh.Client, clients)
		var dialing errgroup.Group
		dialing.SetLimit(8)
		for i := range open {
			dialing.Go(func() (err error) {
				if open[i], err = l.Dial(user); err == nil {
					err = ask(open[i], command)
				}
				return err
			})
		}
		err = dialing.Wait()
		time.Sleep(2 * settle)
		held, errHeld := resident(l.Pid())
		for _, c := range open {
			if c != nil {
				c.Close()
			}
		}
		if err := errors.Join(err, errHeld); err != nil {
			return err
		}
		b.say(fmt.Sprintf("resident memory while %d read nothing of %s", clients, command), held/1024, 200, "MiB")
	}
	return nil
}

// makeHistory makes rounds of two events and more for each node.
func makeHistory(l *lab.Lab, rounds int) error {
	for range rounds {
		if _, err := l.Run("node acquire all-nodes\nnode release my-nodes\n", user); err != nil {
			return err
		}
	}
	return nil
}

// ask starts a command of which nothing is ever read. The server sends the 2 MiB
// that the library takes for it.
func ask(c *ssh.Client, command string) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	if _, err := s.StdoutPipe(); err != nil {
		return err
	}
	return s.Start(command)
}

// took is how long a user waits for the end of a command.
func took(c *ssh.Client, command string) (time.Duration, error) {
	start := time.Now()
	s, err := c.NewSession()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Stdout = io.Discard
	err = s.Run(command)
	return time.Since(start), err
}
