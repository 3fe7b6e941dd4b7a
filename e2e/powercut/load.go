//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/e2e/lab"
)

const (
	users  = 8 // who change little at once
	sets   = 2 // of nodes that a user takes and gives back at once, and which are nobody else's
	size   = 3 // nodes of a set
	shared = 4 // nodes that all users reach for
	copies = 6 // names under which a user duplicates an image
	// crowd is how many nodes one more user takes and gives back at once, so that
	// the logs of the store fill.
	crowd = 600
	// moment is how long a cut may come after the last change that was waited for.
	moment = 50 * time.Millisecond
)

// holdings are what a user has: nodes and images, by name.
type holdings map[string]bool

// with is what is had after a change.
func (h holdings) with(c change) holdings {
	after := maps.Clone(h)
	for _, name := range c.names {
		if c.gets {
			after[name] = true
		} else {
			delete(after, name)
		}
	}
	return after
}

// change is a command of a user that gets or gives up all of the names.
type change struct {
	line  string
	gets  bool
	names []string
}

// person is a user whose changes are recorded outside of the guest.
type person struct {
	name   string
	number int
	sets   []set
	has    holdings // as far as it was acknowledged
	asked  *change  // that was not answered; nil if there is none
	acks   int      // changes that were acknowledged
	client *ssh.Client
}

// next is a change that the user may want now.
func (p *person) next() change {
	if rand.IntN(2) == 0 {
		name := fmt.Sprintf("copy-%d", rand.IntN(copies))
		if p.has[name] {
			return change{"image remove " + name, false, []string{name}}
		}
		return change{"image duplicate base " + name, true, []string{name}}
	}
	name := fmt.Sprintf("shared-%d", rand.IntN(shared))
	nodes := []string{name}
	if n := rand.IntN(len(p.sets) + 1); n < len(p.sets) {
		name, nodes = p.sets[n].name(), p.sets[n].nodes()
	}
	if p.has[nodes[0]] {
		return change{"node release " + name, false, nodes}
	}
	return change{"node acquire " + name, true, nodes}
}

// set is nodes that one user alone takes and gives back, all at once.
type set struct{ user, number, size int }

// name is a glob.
func (s set) name() string { return fmt.Sprintf("own-%d-%d-*", s.user, s.number) }

func (s set) nodes() (names []string) {
	for i := range s.size {
		names = append(names, fmt.Sprintf("own-%d-%d-%d", s.user, s.number, i))
	}
	return names
}

// newPeople are the users, who have nothing yet.
func newPeople() (people []*person) {
	for u := range users + 1 {
		p := &person{name: fmt.Sprintf("user-%d", u), number: u}
		if u == users {
			p.sets = []set{{u, 0, crowd}}
		} else {
			for n := range sets {
				p.sets = append(p.sets, set{u, n, size})
			}
		}
		people = append(people, p)
	}
	return people
}

// work changes things until stop, after which the server may be gone. It calls told
// after each change that was acknowledged.
func (p *person) work(stop <-chan struct{}, told func()) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		next := p.next()
		p.asked = &next
		out, err := run(p.client, next.line)
		var exit *ssh.ExitError
		switch {
		case err == nil:
			p.has, p.asked = p.has.with(next), nil
			p.acks++
			told()
		case errors.As(err, &exit) && exit.ExitStatus() == 3 && strings.HasPrefix(next.names[0], "shared-"): // another was faster
			p.asked = nil
		case errors.As(err, &exit):
			return fmt.Errorf("%s: %s: %w: %s", p.name, next.line, err, out)
		default:
			select {
			case <-stop: // the power was cut
				return nil
			default:
				return fmt.Errorf("%s: %s: %w", p.name, next.line, err)
			}
		}
	}
}

func run(c *ssh.Client, line string) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput(line)
	return string(out), err
}

// check compares what the server says that the user has with what it acknowledged.
// What was asked for and not answered may have become of it all or nothing.
func (p *person) check() error {
	found, err := p.shown()
	if err != nil {
		return err
	}
	acknowledged, asked := p.has, "nothing"
	if p.asked != nil {
		asked = p.asked.line
		if maps.Equal(found, p.has.with(*p.asked)) {
			p.has = found
		}
	}
	p.asked = nil
	if maps.Equal(found, p.has) {
		return nil
	}
	return fmt.Errorf("%s: acknowledged and not there: %s; there and not acknowledged: %s; asked for and not answered: %s",
		p.name, acknowledged.without(found), found.without(acknowledged), asked)
}

// without are the first names of h that other lacks, and how many there are.
func (h holdings) without(other holdings) string {
	var names []string
	for name := range h {
		if !other[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fmt.Sprintf("%d %v", len(names), names[:min(len(names), 10)])
}

// shown is what the server says that the user has.
func (p *person) shown() (holdings, error) {
	found := holdings{}
	for _, line := range []string{"node show --names-only", "image show --names-only"} {
		out, err := run(p.client, line)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w: %s", p.name, line, err, out)
		}
		for name := range strings.FieldsSeq(out) {
			found[name] = true
		}
	}
	return found, nil
}

// each does something for all people at once.
func each(people []*person, f func(*person) error) error {
	errs := make([]error, len(people))
	var all sync.WaitGroup
	for i, p := range people {
		all.Go(func() { errs[i] = f(p) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// load has all people change things until so many changes were acknowledged, and a
// moment longer; then cut cuts the power.
func load(people []*person, changes int, cut func() error) error {
	stop, due := make(chan struct{}), make(chan struct{})
	var acknowledged atomic.Int64
	told := func() {
		if acknowledged.Add(1) == int64(changes) {
			close(due)
		}
	}
	worked := make(chan error, 1)
	go func() { // ends when the power was cut
		worked <- each(people, func(p *person) error { return p.work(stop, told) })
	}()
	select {
	case err := <-worked: // before the cut
		return err
	case <-time.After(patience): // the machine is too busy for so many
	case <-due:
		time.Sleep(rand.N(moment))
	}
	close(stop)
	err := cut()
	leave(people)
	return errors.Join(err, <-worked)
}

// enter has all people log in, until leave. An emulated machine may take longer for
// that than a login may take.
func enter(l *lab.Lab, people []*person) error {
	deadline := time.Now().Add(patience)
	return each(people, func(p *person) (err error) {
		for p.client == nil && (err == nil || time.Now().Before(deadline)) {
			p.client, err = l.Dial(p.name)
		}
		return err
	})
}

func leave(people []*person) {
	for _, p := range people {
		if p.client != nil {
			p.client.Close()
		}
		p.client = nil
	}
}
