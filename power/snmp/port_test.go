package snmp

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
)

// TestPower turns ports off and on in every version and with all kinds of users.
func TestPower(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	for name, who := range map[string]func(*Switch){
		"version 1":       version(V1),
		"version 2":       version(V2),
		"SHA-256, AES":    as("walt", SHA256, AES),
		"SHA-512, AES256": as("modern", SHA512, AES256),
		"MD5, DES":        as("old", MD5, DES),
		"SHA":             as("signs", SHA, ""),
	} {
		t.Run(name, func(t *testing.T) { // one after another: they have the same ports
			s := a.session(who)
			for _, on := range []bool{false, true, true, false} {
				if err := s.SetPower(t.Context(), 2, on); err != nil {
					t.Fatal(err)
				}
				if is, err := s.Power(t.Context(), 2); err != nil || is != on {
					t.Errorf("after it was turned %s: %v, %v", word(on), is, err)
				}
				if want := map[bool]string{true: "1", false: "2"}[on]; a.port(2) != want {
					t.Errorf("snmpget says %s, want %s", a.port(2), want)
				}
			}
			if is := a.port(3); is != "2" {
				t.Errorf("the other port has %s", is)
			}
			ports, err := s.Ports(t.Context())
			if want := []Port{{2, false, Delivering}, {3, false, Disabled}}; err != nil || !slices.Equal(ports, want) {
				t.Errorf("ports are %v, %v, want %v", ports, err, want)
			}
			_, err = s.Power(t.Context(), 9)
			wantFault(t, err, "port 9 of switch sw-1 ("+a.Address+") has no PoE")
			wantFault(t, s.SetPower(t.Context(), 9, true), "port 9 of switch sw-1 ("+a.Address+") has no PoE")
			wantFault(t, s.Cycle(t.Context(), 9, 0), "has no PoE")
		})
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	for name, c := range map[string]struct {
		who  func(*Switch)
		hint string
	}{
		"version 1": {func(sw *Switch) { sw.Version, sw.Community = V1, "public" }, "another community"},
		"version 2": {community("public"), "another community"},
		"version 3": {as("reads", SHA, AES), "the SNMP user reads"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := a.session(c.who)
			if on, err := s.Power(t.Context(), 2); err != nil || !on {
				t.Errorf("the port is %v, %v", on, err)
			}
			wantFault(t, s.SetPower(t.Context(), 2, false), "refuses to turn the power of port 2 off", c.hint)
			wantFault(t, s.Cycle(t.Context(), 2, 0), "refuses to turn the power of port 2 off", c.hint)
			if a.port(2) != "1" {
				t.Error("the port is off")
			}
		})
	}
}

// TestStubborn has an agent that accepts every change and makes none.
func TestStubborn(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "port")
	content := "#!/bin/sh\n[ \"$1\" = -g ] || exit\necho " + oidOf(adminEnable, outlet{1, 2}) + "\necho integer\necho 1\n"
	if err := os.WriteFile(script, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, "pass "+oidOf(adminEnable, outlet{1, 2})+" "+script)
	s := a.session()
	if err := s.SetPower(t.Context(), 2, true); err != nil {
		t.Error(err)
	}
	wantFault(t, s.SetPower(t.Context(), 2, false), "accepted to turn the power of port 2 off, but it is still on")
	wantFault(t, s.Cycle(t.Context(), 2, 0), "still on")
}

// An answer about something else, and one that is no number, tell nothing of a port.
func TestAnswersOfAnother(t *testing.T) {
	t.Parallel()
	for words, answer := range map[string]func(v *gosnmp.SnmpPDU){
		"was asked for the power of port 2, and tells of " + oidOf(adminEnable, outlet{1, 7}): func(v *gosnmp.SnmpPDU) {
			v.Name, v.Type, v.Value = oidOf(adminEnable, outlet{1, 7}), gosnmp.Integer, isTrue
		},
		`neither on nor off but 3`:            func(v *gosnmp.SnmpPDU) { v.Type, v.Value = gosnmp.Integer, 3 },
		`neither on nor off but "on\x1b[31m"`: func(v *gosnmp.SnmpPDU) { v.Type, v.Value = gosnmp.OctetString, "on\x1b[31m" },
	} {
		s := session(t, fake(t, func(p *gosnmp.SnmpPacket) { answer(&p.Variables[0]) }), func(sw *Switch) { sw.PoEPorts = "2:1.2" })
		_, err := s.Power(t.Context(), 2)
		wantFault(t, err, words)
		wantFault(t, s.SetPower(t.Context(), 2, false), words)
	}
}

// TestSlow has a switch that takes a while to do what it was told.
func TestSlow(t *testing.T) {
	t.Parallel()
	gets := 0
	s := session(t, fake(t, func(p *gosnmp.SnmpPacket) {
		p.Variables[0].Type, p.Variables[0].Value = gosnmp.Integer, isTrue
		if gets++; gets > 3 {
			p.Variables[0].Value = isFalse
		}
	}))
	if err := s.SetPower(t.Context(), 2, false); err != nil {
		t.Error(err)
	}
}

func TestCycle(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	for _, port := range []int{2, 3} { // one is on before, one is off
		var off atomic.Bool
		s := session(t, relay(t, a.Address, func(_ int, answer bool) bool {
			if answer && a.port(port) == "2" {
				off.Store(true)
			}
			return false
		}))
		if err := s.Cycle(t.Context(), port, time.Millisecond); err != nil {
			t.Error(err)
		}
		if !off.Load() {
			t.Errorf("port %d is never off in its power cycle", port)
		}
		if a.port(port) != "1" {
			t.Errorf("port %d is off after its power cycle", port)
		}
	}
}

// TestCycleInterrupted cancels a power cycle in its pause.
func TestCycleInterrupted(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	s, other := a.session(), a.session()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Cycle(ctx, 2, time.Hour) }()
	isOff(t, other, 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if a.port(2) != "1" {
		t.Error("the port is left without power")
	}
	if err := s.Cycle(ctx, 2, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a cycle that must not begin: %v", err)
	}
}

// TestCycleSilenced has an agent that falls silent in the pause, and one that does
// so between the cut and its answer.
func TestCycleSilenced(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	s := a.session(hasty)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Cycle(ctx, 2, time.Hour) }()
	isOff(t, a.session(), 2)
	a.signal(syscall.SIGSTOP)
	cancel()
	wantFault(t, <-ended, "left without power", "does not answer")
	a.signal(syscall.SIGCONT)

	if err := a.session().SetPower(t.Context(), 2, true); err != nil {
		t.Fatal(err)
	}
	address := relay(t, a.Address, func(int, bool) bool { return a.port(2) == "2" })
	wantFault(t, session(t, address, hasty).Cycle(t.Context(), 2, 0), "port 2 may be left without power", "does not answer", "turn it on again")
}

func isOff(t *testing.T, s *Session, port int) {
	t.Helper()
	until(t, "the port is off", func() bool {
		on, err := s.Power(t.Context(), port)
		return err == nil && !on
	})
}

// TestTogether has many users of one session.
func TestTogether(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	s := a.session(as("walt", SHA256, AES))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 5 {
				if err := s.SetPower(t.Context(), 2, true); err != nil {
					t.Error(err)
				}
				if _, err := s.Ports(t.Context()); err != nil {
					t.Error(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				if _, err := s.Power(ctx, 2+i%2); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
