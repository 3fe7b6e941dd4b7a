package netboot

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"walt/ethernet"
	"walt/netboot/instructions"
	"walt/nodes"
)

// agentOf returns the agent of a node.
func (s *Server) agentOf(n nodes.Name) (*agent, error) {
	b := s.bootOf(n)
	if b == nil {
		return nil, nodes.ErrNoAgent
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agent == nil {
		return nil, nodes.ErrNoAgent
	}
	return b.agent, nil
}

// Connected reports whether the agent of a machine is connected.
func (s *Server) Connected(mac ethernet.MAC) bool {
	b := s.bootBy(mac)
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agent != nil
}

// Deaf reports whether the agent of a machine says that no packet wakes its network card.
func (s *Server) Deaf(mac ethernet.MAC) bool {
	b := s.bootBy(mac)
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agent != nil && b.agent.deaf.Load()
}

// Reboot has the agent of a node reboot it, and returns when that has begun. The error is
// nodes.ErrNoAgent when none is connected.
func (s *Server) Reboot(ctx context.Context, n nodes.Name) error {
	return s.power(ctx, n, instructions.Reboot)
}

// PowerOff has the agent of a node switch it off, in the same way.
func (s *Server) PowerOff(ctx context.Context, n nodes.Name) error {
	return s.power(ctx, n, instructions.Poweroff)
}

func (s *Server) power(ctx context.Context, n nodes.Name, what string) error {
	a, err := s.agentOf(n)
	if err == nil {
		err = a.order(instructions.Order{Power: what})
	}
	if err != nil {
		return err
	}
	select {
	case <-a.ending:
	case <-a.gone: // so soon that it could not tell
	case <-ctx.Done():
		return fmt.Errorf("its agent did not begin to %s: %w", what, ctx.Err())
	}
	return nil
}

// Blink has a node switch its LEDs on and off for some time, and does not wait for that.
// The error is nodes.ErrNoAgent when no agent is connected, or the node has no LED.
func (s *Server) Blink(n nodes.Name, d time.Duration) error {
	a, err := s.agentOf(n)
	if err != nil {
		return err
	}
	if a.leds.Load() == 0 {
		return nodes.ErrNoAgent
	}
	return a.order(instructions.Order{Blink: max(1, int(d.Seconds()))})
}

// order sends an order to an agent.
func (a *agent) order(o instructions.Order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.conn.SetWriteDeadline(time.Now().Add(orderLimit)); err != nil {
		return err
	}
	_, err = a.conn.Write(append(line, '\n'))
	return err
}

// clockEvery is how often agents are told the time, at most: a clock that the machine has
// run as fast or slow as a kernel lets it, by a tenth, is not a second wrong by then.
const clockEvery = 4 * time.Second

// answer notes what a report says to who waits for it, and tells the time if that is due.
func (s *Server) answer(a *agent, said instructions.Report) error {
	a.deaf.Store(said.Deaf)
	a.leds.Store(int64(said.LEDs))
	if said.Ending != "" {
		a.once.Do(func() { close(a.ending) })
	}
	now := s.Now().UTC()
	if now.Sub(a.told) < clockEvery {
		return nil
	}
	a.told = now
	return a.order(instructions.Order{Clock: &now, After: said.Uptime})
}
