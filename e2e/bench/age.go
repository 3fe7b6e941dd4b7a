//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// age measures what is shown of 100 nodes that were changed often, beside as many
// that are new, in turns; then the journal of all that.
func (b *bench) age(l *lab.Lab) error {
	const rounds = 300
	fresh, end, err := b.open("age-fresh", 100)
	if err != nil {
		return err
	}
	defer end()
	if err := wear(l, b.changes); err != nil {
		return err
	}
	aged, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer aged.Close()
	young, err := fresh.Dial(user)
	if err != nil {
		return err
	}
	defer young.Close()
	var old, new []time.Duration
	for range rounds {
		before, err := timed(young, "node show --all")
		if err != nil {
			return err
		}
		after, err := timed(aged, "node show --all")
		if err != nil {
			return err
		}
		old, new = append(old, after), append(new, before)
	}
	b.print(line{
		figure: fmt.Sprintf("warm node show --all, 100 nodes after %d changes, p50", b.changes), got: median(old), unit: "ms",
		base: median(new), to: "fresh", most: 1.2,
	})
	return b.log(l)
}

// wear has 32 users acquire and release nodes until so many changes were made.
func wear(l *lab.Lab, changes int) error {
	const users = 32
	var all errgroup.Group
	for u := range users {
		name := fmt.Sprintf("wearer-%d", u)
		if err := l.Add("", name); err != nil {
			return err
		}
		var pair strings.Builder
		for n := u; n < 96; n += users { // three nodes of one's own
			fmt.Fprintf(&pair, "node acquire node-%d\nnode release node-%d\n", n, n)
		}
		all.Go(func() error { return runScript(l, name, strings.Repeat(pair.String(), changes/users/6+1)) })
	}
	return all.Wait()
}

// log measures how the journal of a lab is shown: in how many writes, too.
func (b *bench) log(l *lab.Lab) error {
	c, err := l.Dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	const command = "log show --history full"
	before, err := writes(l.Pid())
	if err != nil {
		return err
	}
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	text, err := session.Output(command)
	if err != nil {
		return err
	}
	after, err := writes(l.Pid())
	if err != nil {
		return err
	}
	var all []time.Duration
	for range 5 {
		taken, err := took(c, command)
		if err != nil {
			return err
		}
		all = append(all, taken)
	}
	first, err := firstByte(c, command)
	if err != nil {
		return err
	}
	shown := float64(lines(string(text)))
	b.say(fmt.Sprintf("log show of %.0f lines, p50", shown), median(all), 0, "ms")
	b.say(fmt.Sprintf("log show of %.0f lines, first byte", shown), ms(first), 20, "ms")
	b.print(line{figure: fmt.Sprintf("log show of %.0f lines, writes", shown), got: after - before, base: shown, to: "its lines", most: 0.1})
	return nil
}

// images measures the second copy of an image of users who have 100 and 10,000 of
// them, in turns.
func (b *bench) images(l *lab.Lab) error {
	if err := l.Registry.Push(lab.Image{Models: []string{"rpi-3-b"}, Name: "bench/base:latest"}); err != nil {
		return err
	}
	few, many := "few", "many"
	taken := map[string][]time.Duration{}
	for name, count := range map[string]int{few: 100, many: 10000} {
		if err := l.Add("", name); err != nil {
			return err
		}
		if _, err := l.Run("", name, "image", "clone", "lab:bench/base"); err != nil {
			return err
		}
		var adding errgroup.Group
		for part := range 16 {
			var script strings.Builder
			for n := part; n < count; n += 16 {
				fmt.Fprintf(&script, "image duplicate base copy-%d\n", n)
			}
			adding.Go(func() error { return runScript(l, name, script.String()) })
		}
		if err := adding.Wait(); err != nil {
			return err
		}
	}
	for range 100 {
		for _, name := range []string{few, many} {
			c, err := l.Dial(name)
			if err != nil {
				return err
			}
			once, err := timed(c, "image duplicate base another")
			_, undo := timed(c, "image remove another")
			if err := errors.Join(err, undo, c.Close()); err != nil {
				return err
			}
			taken[name] = append(taken[name], once)
		}
	}
	b.print(line{
		figure: "warm image duplicate of a user with 10000 images, p50", got: median(taken[many]), unit: "ms",
		base: median(taken[few]), to: "100 images", most: 1.5,
	})
	return nil
}

// rest measures how often a server with nothing to do wakes up.
func (b *bench) rest(l *lab.Lab) error {
	time.Sleep(settle)
	before, err := switches(l.Pid())
	if err != nil {
		return err
	}
	const watched = 10 * time.Second
	time.Sleep(watched)
	after, err := switches(l.Pid())
	if err == nil {
		b.say("wake-ups at rest, 100 nodes", (after-before)/watched.Seconds(), 20, "a second")
	}
	return err
}
