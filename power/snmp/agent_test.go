package snmp

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"go.uber.org/goleak"

	"walt/fault"
	"walt/power/snmp/snmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is net-snmp's agent, as that of a switch.
type agent struct {
	*snmptest.Agent
	t *testing.T
}

// users are more of those who may do something with an agent.
const users = `
createUser modern SHA-512 authpass1 AES-256 privpass1
createUser old MD5 authpass1 DES privpass1
createUser signs SHA authpass1
createUser reads SHA authpass1 AES privpass1
rwuser modern priv
rwuser old priv
rwuser signs auth
rouser reads priv
`

// twoPorts are PoE ports 2 and 3, and their interfaces.
const twoPorts = `
override     .1.3.6.1.2.1.17.1.4.1.2.2 integer 10102
override     .1.3.6.1.2.1.17.1.4.1.2.3 integer 10103
override -rw .1.3.6.1.2.1.105.1.1.1.3.1.2 integer 1
override -rw .1.3.6.1.2.1.105.1.1.1.3.1.3 integer 2
override     .1.3.6.1.2.1.105.1.1.1.6.1.2 integer 3
override     .1.3.6.1.2.1.105.1.1.1.6.1.3 integer 1
`

// newAgent runs an agent that has these lines in its configuration.
func newAgent(t *testing.T, lines string) agent {
	t.Helper()
	return agent{snmptest.Run(t, users+lines), t}
}

// start brings back an agent that was stopped.
func (a agent) start() {
	a.t.Helper()
	if err := a.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// signal stops the agent for a while, or wakes it.
func (a agent) signal(s syscall.Signal) {
	a.t.Helper()
	if err := a.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

// port asks net-snmp's own client for the power of a port: "1" is on, "2" off.
func (a agent) port(port int) string {
	a.t.Helper()
	value, err := a.Get(oidOf(adminEnable, outlet{1, port}))
	if err != nil {
		a.t.Fatal(err)
	}
	return value
}

// session opens a session with the agent, as adjusted.
func (a agent) session(adjust ...func(*Switch)) *Session {
	return session(a.t, a.Address, adjust...)
}

func session(t *testing.T, address string, adjust ...func(*Switch)) *Session {
	t.Helper()
	sw := Switch{Name: "sw-1", Address: address, Version: V2, Community: "private", Timeout: 3 * time.Second}
	for _, f := range adjust {
		f(&sw)
	}
	s, err := Open(sw)
	if err != nil {
		t.Fatal(err)
	}
	s.settle = time.Millisecond
	t.Cleanup(func() { s.Close() })
	return s
}

// as makes a switch's user one of version 3.
func as(user string, auth AuthProtocol, priv PrivProtocol) func(*Switch) {
	return func(sw *Switch) {
		sw.Version, sw.User = V3, user
		if sw.AuthProtocol = auth; auth != "" {
			sw.AuthPassword = "authpass1"
		}
		if sw.PrivProtocol = priv; priv != "" {
			sw.PrivPassword = "privpass1"
		}
	}
}

func community(name string) func(*Switch) { return func(sw *Switch) { sw.Community = name } }

func version(v Version) func(*Switch) { return func(sw *Switch) { sw.Version = v } }

// hasty is for requests that are not going to be answered: it gives up after 1.75 s.
func hasty(sw *Switch) { sw.Timeout = 250 * time.Millisecond }

// relay passes packets on to an address and the answers back, but loses those
// that lose says: the nth in its direction, counted from 1.
func relay(t *testing.T, to string, lose func(n int, answer bool) bool) (address string) {
	t.Helper()
	return listen(t, func(n int, packet []byte) []byte {
		if lose(n, false) {
			return nil
		}
		c, err := net.Dial("udp", to)
		if err != nil {
			return nil
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		buffer := make([]byte, 65536)
		if _, err := c.Write(packet); err != nil {
			return nil
		}
		size, err := c.Read(buffer)
		if err != nil || lose(n, true) {
			return nil
		}
		return buffer[:size]
	})
}

// fake answers every request as net-snmp's agent never would.
func fake(t *testing.T, answer func(p *gosnmp.SnmpPacket)) (address string) {
	t.Helper()
	return listen(t, func(_ int, packet []byte) []byte {
		p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(packet)
		if err != nil {
			return nil
		}
		p.PDUType, p.NonRepeaters, p.MaxRepetitions = gosnmp.GetResponse, 0, 0
		answer(p)
		out, err := p.MarshalMsg()
		if err != nil {
			return nil
		}
		return out
	})
}

// listen answers the nth packet with what the function makes of it, if anything.
func listen(t *testing.T, answer func(n int, packet []byte) []byte) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // until the test closes the socket
		defer close(done)
		buffer := make([]byte, 65536)
		for n := 1; ; n++ {
			size, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			if out := answer(n, slices.Clone(buffer[:size])); out != nil {
				c.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c.LocalAddr().String()
}

// wantFault checks that err is a fault that says all this, in its message or hint.
func wantFault(t *testing.T, err error, says ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want a fault that says %q", err, says)
	}
	text := f.Msg + "\n" + f.Hint
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("the fault %q does not say %q", text, s)
		}
	}
	for _, secret := range []string{"private", "authpass1", "privpass1"} {
		if strings.Contains(text, secret) {
			t.Errorf("the fault %q tells a secret", text)
		}
	}
}

// until waits for something that is about to happen.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
