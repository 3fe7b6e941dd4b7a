// Package driver switches outlets: whatever gives a machine its power that is no port of a
// switch. A kind of device is a Means, in a folder of its own below this one; the rules that
// hold for all of them are here: turns, deadlines, tries, reading back. It knows nothing of
// nodes but their names, keeps nothing, and decides nothing. Its one surprising rule: a device
// that says that it did something is not believed until its state shows it.
//
//	outlet.go    outlets, and how they are written
//	drivers.go   the drivers of one lab, and who may be asked
//	ask.go       one request: turns, deadlines, tries
//	profiles.go  what kinds know of devices, by name
//	http.go      what all who speak HTTP need
//	trust.go     how devices are known that speak TLS
//	supply.go    what a node is fed by, which may be several outlets
//	look.go      what many outlets say, asked at once
package driver

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// State is that of an outlet.
type State string

// The states. Unknown is one, too: of a device that does not tell.
const (
	On      State = "on"
	Off     State = "off"
	Unknown State = "unknown"
)

// stateOf is the state that a switched outlet should have.
func stateOf(on bool) State {
	if on {
		return On
	}
	return Off
}

// Target is an outlet as its Means is asked for it.
type Target struct {
	Host string // of the device, "" where the driver has one itself, or none
	Port string // which outlet, "" for a device that has one alone
	Node string // the name of the node that it feeds, "" if that is not known
}

// Means is a kind of device, as the server's file declares one. It is called for one
// outlet of a device at a time, by several goroutines for several devices; ctx ends after
// the time that a request may take. Its errors are faults that say which device it is,
// what failed and what to do, without any secret; or Refusal of one, or ErrNotSupported.
type Means interface {
	// Status asks for the state: Unknown of an outlet that is on its way, ErrNotSupported
	// where the device does not tell.
	Status(ctx context.Context, t Target) (State, error)
	// Switch has the device switch it. That it did is read back by who calls.
	Switch(ctx context.Context, t Target, on bool) error
	// Close ends what it has open.
	Close() error
}

// Cycler is a Means whose devices can take the power away for a moment by themselves.
type Cycler interface {
	// Cycle has the power be off for about that time. ErrNotSupported: off, a pause, and on
	// do instead.
	Cycle(ctx context.Context, t Target, off time.Duration) error
}

// Porter is a Means whose devices have ports of one form. Those of others may be any.
type Porter interface {
	// CheckPort returns a fault for a port that no device has.
	CheckPort(port string) error
}

// ErrNotSupported says that a device has no such request.
var ErrNotSupported = errors.New("the device has no such request")

// Refusal is an error after which asking again does not help, as a wrong password or an
// outlet that is not there.
type Refusal struct{ Err error }

func (r Refusal) Error() string { return r.Err.Error() }

func (r Refusal) Unwrap() error { return r.Err }

// mostWords is how many characters users are told of what a device says.
const mostWords = 300

// Clean is what a device says, for people and their terminals.
func Clean(text string) string {
	var b strings.Builder
	n := 0
	for _, c := range strings.TrimSpace(strings.ToValidUTF8(text, "?")) {
		if !unicode.IsPrint(c) {
			c = ' '
		}
		if n++; n > mostWords {
			b.WriteString("...")
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}
