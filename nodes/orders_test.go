package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/consent"
	"walt/ethernet"
	"walt/journal"
	"walt/state"
)

// ordered is agents of nodes, which note what is asked of them.
type ordered struct {
	did []string
	err error

	taken atomic.Int64
}

func (o *ordered) do(what string) error {
	o.did = append(o.did, what)
	return o.err
}

func (o *ordered) Reboot(_ context.Context, n Name) error   { return o.do("reboot " + string(n)) }
func (o *ordered) PowerOff(_ context.Context, n Name) error { return o.do("power off " + string(n)) }

func (o *ordered) Blink(n Name, d time.Duration) error {
	return o.do("blink " + string(n) + " " + d.String())
}

func (o *ordered) Renamed(mac ethernet.MAC, n Name) {
	_ = o.do("call " + string(mac) + " " + string(n))
}
func (o *ordered) Forgo(_ state.Tx, mac ethernet.MAC) error { return o.do("forgo " + string(mac)) }
func (o *ordered) Gone(mac ethernet.MAC)                    { _ = o.do("end " + string(mac)) }

func (o *ordered) Connected(ethernet.MAC) bool { return false }

func (o *ordered) Deaf(ethernet.MAC) bool { return false }

func (o *ordered) Taken(Name) int64 { return o.taken.Load() }

func (o *ordered) HostKey(context.Context, ethernet.MAC) (ssh.PublicKey, error) {
	return nil, nil
}

func (o *ordered) HostSigners(context.Context, ethernet.MAC, Name) ([]ssh.Signer, error) {
	return nil, nil
}

func (o *ordered) Readmit(context.Context) {}

// A node is asked by its agent to reboot, to power off and to blink; over SSH only where
// there is none, and by its power when it does not obey.
func TestOrders(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	agents := &ordered{}
	l.Agents = agents
	dialed := 0
	l.Dial = func(context.Context, string, string) (net.Conn, error) {
		dialed++
		return nil, errors.New("refused")
	}
	reboot := func() (how string) {
		t.Helper()
		l.grid.take()
		l.comeUp(t, "v1")
		ok(t, l.Reboot(t.Context(), "bob", parse("v1"), false, consent.Agreement{}, func(c Change) { how = c.Reboot.String() }))
		return how
	}
	if how := reboot(); how != "ok" || dialed > 0 || l.state(t, "v1").State != Booting {
		t.Errorf("by its agent: %s, %+v", how, l.state(t, "v1").Status)
	}
	equal(t, "asked", agents.did, "reboot v1")
	equal(t, "by its power", l.grid.take())

	agents.err = errors.New("it does not begin")
	if how := reboot(); how != "ok" || dialed > 0 {
		t.Errorf("by its power: %s, %d calls", how, dialed)
	}
	equal(t, "by its power", l.grid.take(), "v1")

	agents.err = ErrNoAgent
	if how := reboot(); how != "ok" || dialed != 1 {
		t.Errorf("over SSH, and then by its power: %s, %d calls", how, dialed)
	}

	l.comeUp(t, "v1")
	agents.did, agents.err = nil, nil
	ok(t, l.ask(t.Context(), l.device(t, "v1"), "127.0.0.1:1", "poweroff"))
	ok(t, l.Blink(t.Context(), "carol", l.state(t, "v1"), time.Minute))
	equal(t, "asked", agents.did, "power off v1", "blink v1 1m0s")
	equal(t, "the log tells", l.events(t, journal.Visit), "carol v1: bob -> , ran a command: blink 1m0s")
	l.Down("v1", false, "")
	if err := l.Blink(t.Context(), "carol", l.state(t, "v1"), time.Minute); !errors.Is(err, ErrNoAgent) {
		t.Errorf("one that is off blinks: %v", err)
	}
}

// A restart that takes too long is told as that, and is no error of the server's.
func TestRestartThatTakesTooLong(t *testing.T) {
	t.Parallel()
	l := &Lab{} // without a log
	if why := l.why("n1", fmt.Errorf("wait: %w", context.DeadlineExceeded)); why != "it took longer than 2m0s" {
		t.Error(why)
	}
}
