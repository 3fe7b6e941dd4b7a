//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/e2e/lab"
)

// warm measures commands as sessions of a connection that is there, one at a
// time.
func (b *bench) warm(l *lab.Lab) error {
	if err := b.shows(l, 500, 1.5); err != nil {
		return err
	}
	c, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	var acquires, releases []time.Duration
	for range 300 {
		for _, command := range []string{"acquire", "release"} {
			taken, err := timed(c, "node "+command+" node-7")
			if err != nil {
				return err
			}
			if command == "acquire" {
				acquires = append(acquires, taken)
			} else {
				releases = append(releases, taken)
			}
		}
	}
	b.say("warm node acquire, synchronous writes, p50", median(acquires), 3, "ms")
	b.say("warm node release, synchronous writes, p50", median(releases), 3, "ms")
	return nil
}

// large measures the same in a large lab.
func (b *bench) large(l *lab.Lab) error { return b.shows(l, 60, 50) }

// shows measures what a user is shown: their own nodes, and all.
func (b *bench) shows(l *lab.Lab, rounds int, limit float64) error {
	c, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	count, err := l.Run("", user, "node", "show", "--all", "--names-only")
	if err != nil {
		return err
	}
	for _, command := range []string{"node show", "node show --all"} {
		var all []time.Duration
		for range rounds {
			taken, err := timed(c, command)
			if err != nil {
				return err
			}
			all = append(all, taken)
		}
		b.say(fmt.Sprintf("warm %s, %d nodes, p50", command, lines(count)), median(all), limit, "ms")
	}
	return nil
}

// timed runs a command as a new session, until its exit status is in.
func timed(c *ssh.Client, command string) (time.Duration, error) {
	start := time.Now()
	s, err := c.NewSession()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return time.Since(start), nil
}

// dialAll adds users, and connects as each of them, until leave.
func dialAll(l *lab.Lab, name string, users int) (clients []*ssh.Client, leave func(), err error) {
	leave = func() {
		for _, c := range clients {
			c.Close()
		}
	}
	for i := range users {
		user := fmt.Sprintf("%s-%d", name, i)
		err := l.Add("", user)
		var c *ssh.Client
		if err == nil {
			c, err = l.Dial(user)
		}
		if err != nil {
			leave()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return clients, leave, nil
}

// race lets many users reach for one free node at once.
func (b *bench) race(l *lab.Lab) error {
	const users, rounds = 32, 100
	clients, leave, err := dialAll(l, "racer", users)
	if err != nil {
		return err
	}
	defer leave()
	wrong := 0
	var last []time.Duration
	for range rounds {
		winners, taken, err := raceOnce(clients, "node acquire node-0")
		if err != nil {
			return err
		}
		last = append(last, taken)
		if len(winners) != 1 {
			wrong++
		}
		for _, w := range winners {
			if _, err := timed(w, "node release node-0"); err != nil {
				return err
			}
		}
	}
	b.say("32 users race for a node: of 100 rounds, without exactly one winner", float64(wrong), 0.5, "")
	b.say("32 users race for a node: the last one is told, p50", median(last), 0, "ms")
	b.say("32 users race for a node: the last one is told, worst round", ms(worst(last)), 250, "ms")
	return nil
}

// raceOnce sends one command from all clients at once, on sessions that are
// open already, and returns who ended with status 0 and when the last was told.
// Any other status than 3 is an error.
func raceOnce(clients []*ssh.Client, command string) (winners []*ssh.Client, last time.Duration, err error) {
	type end struct {
		client *ssh.Client
		err    error
		taken  time.Duration
	}
	sessions := make([]*ssh.Session, len(clients))
	for i, c := range clients {
		if sessions[i], err = c.NewSession(); err != nil {
			return nil, 0, err
		}
		defer sessions[i].Close()
	}
	ends := make(chan end, len(clients))
	start := time.Now()
	for i, s := range sessions {
		go func() {
			err := s.Run(command)
			ends <- end{clients[i], err, time.Since(start)}
		}()
	}
	for range clients {
		e := <-ends
		last = max(last, e.taken)
		var exit *ssh.ExitError
		switch {
		case e.err == nil:
			winners = append(winners, e.client)
		case !errors.As(e.err, &exit) || exit.ExitStatus() != 3:
			err = e.err
		}
	}
	return winners, last, err
}
