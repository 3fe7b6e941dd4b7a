//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// queue measures who waits for one node: in which order they get it and how soon, and what
// very many of them cost.
func (b *bench) queue(l *lab.Lab) error {
	const users, many, watched = 50, 1000, 10 * time.Second
	owner, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer owner.Close()
	if _, err := timed(owner, "node acquire node-0"); err != nil {
		return err
	}
	clients, leave, err := dialAll(l, "waiter", users)
	if err != nil {
		return err
	}
	defer leave()
	if err := b.served(owner, clients); err != nil {
		return err
	}

	if _, err := timed(owner, "node acquire node-0"); err != nil {
		return err
	}
	var all errgroup.Group
	for _, c := range clients {
		all.Go(func() error {
			for range many / users {
				if _, err := startWaiting(c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if n, err := queued(l); err != nil || n != many {
		return fmt.Errorf("%d wait, and not %d: %w", n, many, err)
	}
	time.Sleep(settle)
	before, err := cpu(l.Pid())
	if err != nil {
		return err
	}
	time.Sleep(watched)
	after, err := cpu(l.Pid())
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("%d users' commands wait for a node: of a processor", many), 100*(after-before).Seconds()/watched.Seconds(), 1, "%")
	return nil
}

// served has each client wait for the node of the owner, one after the other, and then
// everybody who gets it release it.
func (b *bench) served(owner *ssh.Client, clients []*ssh.Client) error {
	ends := make(chan int, len(clients))
	for i, c := range clients {
		w, err := startWaiting(c)
		if err != nil {
			return err
		}
		go func() {
			if w.Wait() != nil {
				i = -1
			}
			ends <- i
		}()
	}
	wrong, has := 0, owner
	var taken []time.Duration
	for i := range clients {
		s, err := has.NewSession()
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := s.Start("node release node-0"); err != nil {
			return err
		}
		got := <-ends
		taken = append(taken, time.Since(begin))
		if err := s.Wait(); err != nil {
			return err
		}
		if got < 0 {
			return fmt.Errorf("after %d others a client waited in vain", i)
		}
		if got != i {
			wrong++
		}
		has = clients[got]
	}
	if _, err := timed(has, "node release node-0"); err != nil {
		return err
	}
	b.say("50 users wait for a node: not served in the order of arrival", float64(wrong), 0.5, "")
	b.say("50 users wait for a node: from its release to the next, p50", median(taken), 50, "ms")
	b.say("50 users wait for a node: from its release to the next, worst", ms(worst(taken)), 0, "ms")
	return nil
}

// startWaiting begins to wait for any node, and returns when that is in the queue.
func startWaiting(c *ssh.Client) (*ssh.Session, error) {
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	said, err := s.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Start("node acquire --any 1 --wait"); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(said)
	first, err := lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(first, "waiting for ") {
		return nil, fmt.Errorf("who waits is told %q: %w", first, err)
	}
	go io.Copy(io.Discard, lines) // ends with the session
	return s, nil
}

// queued is how many wait.
func queued(l *lab.Lab) (int, error) {
	out, err := l.Run("", user, "node", "queue", "--json")
	if err != nil {
		return 0, err
	}
	var doc struct {
		Waiting []json.RawMessage `json:"waiting"`
	}
	err = json.Unmarshal([]byte(out), &doc)
	return len(doc.Waiting), err
}
