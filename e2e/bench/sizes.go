//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/e2e/lab"
)

// sizes measures commands whose answer is short in labs of 10 nodes and more, all of
// them in turns; then what is large in the largest.
func (b *bench) sizes(l *lab.Lab) error {
	all := []*sized{{nodes: 10, lab: l}}
	for nodes := 100; nodes <= b.nodes; nodes *= 10 {
		s := &sized{nodes: nodes}
		var end func()
		var err error
		if s.lab, end, err = b.open(fmt.Sprintf("sizes-%d", nodes), nodes); err != nil {
			return err
		}
		defer end()
		all = append(all, s)
	}
	for _, s := range all {
		if err := s.prepare(); err != nil {
			return err
		}
		defer s.client.Close()
	}
	for _, m := range []struct {
		name   string
		rounds int
		once   func(*sized) (time.Duration, error)
	}{
		{"warm node show, of one's own node", 60, func(s *sized) (time.Duration, error) { return timed(s.client, "node show") }},
		{"warm node acquire NODE", 60, func(s *sized) (time.Duration, error) { return s.acquire("node acquire node-7", "node release node-7") }},
		{"warm node acquire --any 1", 60, func(s *sized) (time.Duration, error) {
			return s.acquire("node acquire --any 1", "node release my-nodes", "node acquire mine")
		}},
		{"warm node release my-nodes", 60, func(s *sized) (time.Duration, error) {
			return s.acquire("node release my-nodes", "node acquire mine")
		}},
		{"Tab behind part of a name, in a shell", 60, (*sized).tab},
	} {
		taken := map[*sized][]time.Duration{}
		for range m.rounds {
			for _, s := range all {
				once, err := m.once(s)
				if err != nil {
					return fmt.Errorf("%s, %d nodes: %w", m.name, s.nodes, err)
				}
				taken[s] = append(taken[s], once)
			}
		}
		base := median(taken[all[0]])
		b.say(fmt.Sprintf("%s, 10 nodes, p50", m.name), base, 0, "ms")
		for _, s := range all[1:] {
			b.print(line{figure: fmt.Sprintf("%s, %d nodes, p50", m.name, s.nodes), got: median(taken[s]), unit: "ms", base: base, to: "10 nodes", most: 1.5})
		}
	}
	for _, s := range all {
		if s.nodes >= 1000 {
			if err := b.lists(s); err != nil {
				return err
			}
		}
		if s.nodes == 10000 {
			if err := b.atOnce(s); err != nil {
				return err
			}
		}
	}
	return b.largest(all[len(all)-1])
}

// sized is a lab of some size, with the connection of a user who has a node.
type sized struct {
	nodes  int
	lab    *lab.Lab
	client *ssh.Client
	shell  *shell
}

func (s *sized) prepare() (err error) {
	add := "device add mine --mac 52:54:02:00:00:01 --model rpi-3-b\ndevice add tabbed-node --mac 52:54:02:00:00:02 --model rpi-3-b\n"
	if _, err := s.lab.Run(add, lab.Admin); err != nil {
		return err
	}
	if s.client, err = s.lab.Dial(user); err != nil {
		return err
	}
	if _, err := timed(s.client, "node acquire mine"); err != nil {
		return err
	}
	s.shell, err = newShell(s.client)
	return err
}

// acquire measures the first command; the others make up for it.
func (s *sized) acquire(command string, after ...string) (time.Duration, error) {
	taken, err := timed(s.client, command)
	for _, line := range after {
		_, undo := timed(s.client, line)
		err = errors.Join(err, undo)
	}
	return taken, err
}

func (s *sized) tab() (time.Duration, error) {
	return s.shell.complete("node show tabb", "tabbed-node")
}

// lists measures long answers: the time until they begin, and the server's own.
func (b *bench) lists(s *sized) error {
	const rounds = 20
	limits := map[int]float64{10000: 10, 100000: 100} // of the processor's time
	before, err := cpu(s.lab.Pid())
	if err != nil {
		return err
	}
	const shown = "node show --all"
	if err := b.begins(s, shown, rounds); err != nil {
		return err
	}
	after, err := cpu(s.lab.Pid())
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("server CPU of %s, %d nodes", shown, s.nodes), ms(after-before)/rounds, limits[s.nodes], "ms")
	for _, command := range []string{"device show", "device config all-devices", "node config all-nodes --json", "device tree"} {
		if err := b.begins(s, command, rounds); err != nil {
			return err
		}
	}
	return nil
}

// begins measures the time until a long answer begins.
func (b *bench) begins(s *sized, command string, rounds int) error {
	var first []time.Duration
	for range rounds {
		taken, err := firstByte(s.client, command)
		if err != nil {
			return err
		}
		first = append(first, taken)
	}
	b.say(fmt.Sprintf("first byte of %s, %d nodes, p50", command, s.nodes), median(first), 20, "ms")
	return nil
}

// firstByte runs a command to its end and returns when its answer began.
func firstByte(c *ssh.Client, command string) (time.Duration, error) {
	session, err := c.NewSession()
	if err != nil {
		return 0, err
	}
	defer session.Close()
	out := &begun{start: time.Now()}
	session.Stdout = out
	err = session.Run(command)
	return out.after, err
}

// begun notes when the first byte came.
type begun struct {
	start time.Time
	after time.Duration
}

func (w *begun) Write(p []byte) (int, error) {
	if w.after == 0 {
		w.after = time.Since(w.start)
	}
	return len(p), nil
}

// atOnce acquires and releases all nodes of a large lab with one command each.
func (b *bench) atOnce(s *sized) error {
	for _, command := range []string{"node acquire free-nodes", "node release my-nodes"} {
		figure := fmt.Sprintf("warm %s, %d nodes at once", command, s.nodes)
		taken, err := timed(s.client, command)
		if err != nil {
			b.broken(figure, errors.New(strings.TrimSpace(err.Error())))
			return nil
		}
		b.say(figure, ms(taken), 2000, "ms")
	}
	return nil
}

// largest measures the start and the memory of a server with many nodes.
func (b *bench) largest(s *sized) error {
	kib, err := resident(s.lab.Pid())
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("resident memory, %d nodes, after the lists", s.nodes), kib/1024, 200, "MiB")
	var all []time.Duration
	for range 5 {
		if err := s.lab.Stop(); err != nil {
			return err
		}
		begin := time.Now()
		if err := s.lab.Start(); err != nil {
			return err
		}
		c, err := s.lab.Dial(user)
		if err != nil {
			return err
		}
		all = append(all, time.Since(begin))
		_, err = timed(c, "node show")
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	b.say(fmt.Sprintf("start to first login, %d nodes, p50", s.nodes), median(all), 300, "ms")
	time.Sleep(settle)
	if kib, err = resident(s.lab.Pid()); err == nil {
		b.say(fmt.Sprintf("resident memory, %d nodes", s.nodes), kib/1024, 200, "MiB")
	}
	return err
}
