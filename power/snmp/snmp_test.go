package snmp

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
)

// TestStrangers asks as somebody whom the agent does not know, or not so.
func TestStrangers(t *testing.T) {
	t.Parallel()
	a := newAgent(t, twoPorts)
	for name, c := range map[string]struct {
		who  func(*Switch)
		says []string
	}{
		"wrong community":              {community("wrong"), []string{"does not answer SNMP requests", "a wrong community is answered with silence", "snmp.version=1"}},
		"wrong community in version 1": {func(sw *Switch) { sw.Version, sw.Community = V1, "wrong" }, []string{"does not answer", "version 1", "a wrong community"}},
		"unknown user":                 {as("nobody", SHA256, AES), []string{"has no SNMP user nobody", "correct the SNMP user"}},
		"unknown user, unsigned":       {as("nobody", "", ""), []string{"has no SNMP user nobody"}},
		"wrong password": {func(sw *Switch) {
			as("walt", SHA256, AES)(sw)
			sw.AuthPassword = "a wrong password"
		}, []string{"the authentication password of its SNMP user walt, or the protocol, is wrong"}},
		"wrong protocol": {as("walt", SHA512, AES), []string{"the authentication password of its SNMP user walt, or the protocol, is wrong"}},
		"wrong privacy password": {func(sw *Switch) {
			as("walt", SHA256, AES)(sw)
			sw.PrivPassword = "a wrong password"
		}, []string{"answers, but not to the SNMP user walt", "privacy password"}},
		"privacy that the agent lacks": {as("signs", SHA, AES), []string{"does not offer its SNMP user signs these protocols"}},
		"no privacy":                   {as("walt", SHA256, ""), []string{"refuses to be read (AuthorizationError)", "allow the SNMP user walt"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := a.session(hasty, c.who).Power(t.Context(), 2)
			wantFault(t, err, append(c.says, "switch sw-1 ("+a.Address+")")...)
		})
	}
}

// TestComesBack stops an agent and starts it again, with the ID that it had and
// with another: the session outlives it.
func TestComesBack(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]func(*Switch){"version 2": version(V2), "version 3": as("walt", SHA256, AES)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, twoPorts)
			s := a.session(who)
			works := func(when string) {
				t.Helper()
				if on, err := s.Power(t.Context(), 2); err != nil || !on {
					t.Fatalf("%s: %v, %v", when, on, err)
				}
			}
			works("at first")
			a.Stop()
			s.limit = 60 * time.Millisecond
			_, err := s.Power(t.Context(), 2)
			wantFault(t, err, "has nothing that answers SNMP requests (connection refused)", "check its address")
			a.start()
			s.limit = time.Second
			works("started again")
			a.Stop()
			if err := os.RemoveAll(filepath.Join(a.Dir, "persistent")); err != nil {
				t.Fatal(err)
			}
			a.start()
			works("started anew")
			a.signal(syscall.SIGSTOP)
			s.limit = 60 * time.Millisecond
			_, err = s.Power(t.Context(), 2)
			wantFault(t, err, "does not answer SNMP requests")
			a.signal(syscall.SIGCONT)
			s.limit = time.Second
			works("woken")
		})
	}
}

// TestLostPackets loses the first two packets of a request, or their answers.
func TestLostPackets(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"requests": false, "answers": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, twoPorts)
			address := relay(t, a.Address, func(n int, answer bool) bool { return n < 3 && answer == answers })
			s := session(t, address, func(sw *Switch) { sw.Timeout = time.Second })
			if err := s.SetPower(t.Context(), 2, false); err != nil {
				t.Error(err)
			}
			if a.port(2) != "2" {
				t.Error("the port is on")
			}
		})
	}
}

// TestEnds ends the context of a request that nobody answers.
func TestEnds(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	s := session(t, listen(t, func(int, []byte) []byte {
		asked <- struct{}{}
		return nil
	}), func(sw *Switch) { sw.Timeout = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	ended, waits := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Power(ctx, 2)
		ended <- err
	}()
	<-asked
	go func() { // waits for its turn
		_, err := s.Power(ctx, 2)
		waits <- err
	}()
	cancel()
	for _, c := range []chan error{ended, waits} {
		if err := <-c; !errors.Is(err, context.Canceled) || fault.As(err) != nil {
			t.Errorf("cancelled: %v", err)
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Neighbours(ctx)
	wantFault(t, err, "did not answer in time", "a wrong community")

	s.Close()
	if _, err := s.Power(t.Context(), 2); err == nil || fault.As(err) != nil {
		t.Errorf("after Close: %v", err)
	}
}

// TestNonsense has agents that do not speak SNMP as one should.
func TestNonsense(t *testing.T) {
	t.Parallel()
	garbage := listen(t, func(int, []byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") })
	_, err := session(t, garbage, hasty).Power(t.Context(), 2)
	wantFault(t, err, "sent an invalid SNMP reply")
	_, err = session(t, garbage, hasty, as("walt", SHA256, AES)).Power(t.Context(), 2)
	wantFault(t, err, "sent an invalid SNMP reply")

	odd := fake(t, func(p *gosnmp.SnmpPacket) {
		p.Variables[0].Type, p.Variables[0].Value = gosnmp.Integer, 7
	})
	_, err = session(t, odd).Power(t.Context(), 2)
	wantFault(t, err, "neither on nor off but 7")

	circles := fake(t, func(p *gosnmp.SnmpPacket) {
		p.Variables[0] = gosnmp.SnmpPDU{Name: oidOf(adminEnable, outlet{1, 2}), Type: gosnmp.Integer, Value: 1}
	})
	_, err = session(t, circles).Ports(t.Context())
	wantFault(t, err, "has a looping SNMP table")

	broken := fake(t, func(p *gosnmp.SnmpPacket) { p.Error = gosnmp.GenErr })
	_, err = session(t, broken).Ports(t.Context())
	wantFault(t, err, "refuses to be read (GenErr)")
}

func TestNoSuchHost(t *testing.T) {
	t.Parallel()
	_, err := session(t, "no-such-host.invalid").Power(t.Context(), 2)
	wantFault(t, err, "switch sw-1 (no-such-host.invalid): its name is not known", "DNS knows it")

	_, err = session(t, "127.0.0.1:1", hasty).Ports(t.Context())
	wantFault(t, err, "connection refused")
	if _, is := errors.AsType[Silence](err); !is {
		t.Errorf("%v is no silence", err)
	}
}
