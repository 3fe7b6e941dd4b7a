package power

import (
	"context"
	"errors"
	"sync"
	"time"

	"walt/power/snmp"
)

// Agent is the part of a switch that answers SNMP requests, one after the other.
type Agent interface {
	Power(ctx context.Context, port int) (on bool, err error)
	SetPower(ctx context.Context, port int, on bool) error
	Cycle(ctx context.Context, port int, off time.Duration) error
	Neighbours(ctx context.Context) ([]snmp.Neighbour, error)
	Names(ctx context.Context) ([]snmp.PortName, error)
	Close() error
}

// sessions are those with the SNMP agents of switches: one with each, shared by
// all who have something to ask, and one at a time for each port.
type sessions struct {
	dial func(snmp.Switch) (Agent, error)

	mu   sync.Mutex
	all  map[snmp.Switch]*session
	held map[Port]*hold
}

// session lasts as long as somebody uses it.
type session struct {
	agent Agent
	users int
	turns chan struct{} // holds an element for each port that is being worked at
	// silent is why the switch does not answer: those who wait are told, too.
	silent error
}

// silence is the error of a switch that does not answer, rather than refuses.
type silence struct{ error }

func (s silence) Unwrap() error { return s.error }

// silent tells the silence of a switch that was asked one thing, or some that
// it should be quick to answer, from its refusal.
func silent(err error, asked time.Time) error {
	if _, refused := errors.AsType[snmp.Refusal](err); refused {
		return err
	}
	if err != nil && time.Since(asked) > slow {
		return silence{err}
	}
	return err
}

// hold is the turn at a port.
type hold struct {
	turn  chan struct{}
	users int
}

const (
	// portsAtOnce is at how many ports of a switch is worked at the same time: a
	// power cycle is mostly waiting.
	portsAtOnce = 8
	// slow is how long no refusal takes: what failed later is silence.
	slow = 500 * time.Millisecond
)

func newSessions(dial func(snmp.Switch) (Agent, error)) *sessions {
	return &sessions{dial: dial, all: map[snmp.Switch]*session{}, held: map[Port]*hold{}}
}

// hold waits until nobody else works at the port.
func (c *sessions) hold(ctx context.Context, port Port) (leave func(), err error) {
	c.mu.Lock()
	h := c.held[port]
	if h == nil {
		h = &hold{turn: make(chan struct{}, 1)}
		c.held[port] = h
	}
	h.users++
	c.mu.Unlock()
	gone := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(c.held, port)
		}
	}
	select {
	case h.turn <- struct{}{}:
		return func() { <-h.turn; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, ctx.Err()
	}
}

// use has f ask the switch when it is its turn.
func (c *sessions) use(ctx context.Context, sw snmp.Switch, f func(Agent) error) error {
	n, err := c.enter(sw)
	if err != nil {
		return err
	}
	defer c.leave(sw, n)
	select {
	case n.turns <- struct{}{}:
		defer func() { <-n.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	err = n.silent
	c.mu.Unlock()
	if err != nil {
		return err
	}
	err = f(n.agent)
	if _, silent := errors.AsType[silence](err); silent {
		c.mu.Lock()
		defer c.mu.Unlock()
		n.silent = err
		if c.all[sw] == n { // who comes later tries again
			delete(c.all, sw)
		}
	}
	return err
}

func (c *sessions) enter(sw snmp.Switch) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.all[sw]
	if n == nil {
		agent, err := c.dial(sw)
		if err != nil {
			return nil, err
		}
		n = &session{agent: agent, turns: make(chan struct{}, portsAtOnce)}
		c.all[sw] = n
	}
	n.users++
	return n, nil
}

func (c *sessions) leave(sw snmp.Switch, n *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.users--; n.users > 0 {
		return
	}
	if c.all[sw] == n {
		delete(c.all, sw)
	}
	n.agent.Close()
}
