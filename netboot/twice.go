package netboot

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"time"

	"walt/ethernet"
	"walt/nodes"
)

const (
	// twiceAfter is for how long an agent must go on after the firmware of its machine asked
	// what to boot, or after its boot was over: that of the same machine would be gone.
	twiceAfter = 30 * time.Second
	// twiceGone is after how long without a sign of it a second device is gone.
	twiceGone = 10 * time.Minute
)

// former is a boot before, at the same address.
type former struct {
	token string
	over  time.Time
}

// FirmwareAsks notes that the firmware of a machine asks for its address: its agent is gone
// then, unless that is another machine.
func (s *Server) FirmwareAsks(mac ethernet.MAC) {
	b := s.bootBy(mac)
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agent != nil && b.asked.IsZero() {
		b.asked = s.Now()
	}
}

// Runs reports whether a machine runs what it booted at an address: its agent is there, and its
// firmware has not asked for an address meanwhile.
func (s *Server) Runs(mac ethernet.MAC, ip netip.Addr) bool {
	b := s.bootBy(mac)
	if b == nil || b.machine.IP != ip {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agent != nil && b.asked.IsZero()
}

// goesOn notes that the agent of a boot is still there.
func (s *Server) goesOn(ctx context.Context, b *boot) {
	b.mu.Lock()
	twice := !b.asked.IsZero() && s.Now().Sub(b.asked) > twiceAfter
	if twice {
		b.asked = time.Time{}
	}
	b.mu.Unlock()
	if twice {
		s.twice(ctx, b)
	}
}

// speaksOn notes what an agent at an address says that is not of the boot there: of the
// one before, when another machine began this one.
func (s *Server) speaksOn(ctx context.Context, ip netip.Addr, token string) {
	s.mu.Lock()
	b := s.boots[ip]
	s.mu.Unlock()
	if b == nil || !b.given() || b.former.token == "" || s.Now().Sub(b.former.over) <= twiceAfter {
		return
	}
	if subtle.ConstantTimeCompare([]byte(b.former.token), []byte(token)) == 1 {
		s.twice(ctx, b)
	}
}

// twice tells that two machines have a MAC address, until that was not seen for a while, or
// the server ends, which ends ctx.
func (s *Server) twice(ctx context.Context, b *boot) {
	mac := b.machine.MAC
	key := "twice " + string(mac)
	s.mu.Lock()
	before := s.doubles[mac]
	if before != nil {
		before.Reset(twiceGone)
	} else {
		forget := func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.doubles, mac)
		}
		var served func() bool // stops that the end of ctx ends the timer
		timer := time.AfterFunc(twiceGone, func() {
			if forget(); served() {
				s.Lab.Calmed(key)
			}
		})
		served = context.AfterFunc(ctx, func() {
			timer.Stop()
			forget()
		})
		s.doubles[mac] = timer
	}
	s.mu.Unlock()
	if before != nil {
		return
	}
	s.Log.Warn("two devices have the same MAC address", "mac", mac, "node", b.node())
	s.Lab.Troubled(ctx, key, nodes.Trouble{Node: b.node(), Text: fmt.Sprintf("two devices have the MAC address %s, which is that of %s: one of them has to go", mac, b.node())})
}
