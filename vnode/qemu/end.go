package qemu

import (
	"regexp"
	"strings"

	"walt/nodes"
)

// ending is why a machine ended.
type ending struct {
	again   bool   // it resets itself: another one follows
	crashed bool   // its kernel gave up, and resets it
	why     string // in words for users; "" for a reboot or a shutdown like any other
}

// timedOut is what systemd writes, in several versions, before it cuts a shutdown short as
// our init has told it to.
var timedOut = regexp.MustCompile(`Timed out starting (\x1b\[[0-9;]*m)*(System )?([Rr]eboot|[Pp]ower.?[Oo]ff)`)

const (
	hangs = "walt: the shutdown hangs" // of the agent, which then cuts it short
	hung  = "its shutdown hung, and was cut short"
	// unanswered is of a machine that an earlier server left.
	unanswered = "power cut: it did not answer the server, which had started anew"
	// unconnected is of one whose tap somebody removed meanwhile.
	unconnected = "power cut: it was not connected to the network any more"
	powerCut    = "power cut: its process on the server was killed, or crashed"
)

// endingOf reads why a machine ended: reason is that of QEMU's event SHUTDOWN, see
// https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html, and "" when there was
// none, complaint the last that QEMU had to say, and said what the machine wrote on its
// serial line since it started.
func endingOf(reason, complaint string, said []byte) ending {
	e := ending{again: reason == "guest-reset"}
	panicked := nodes.Panic(said)
	switch {
	case reason == "":
		e.why = powerCut
		if complaint = nodes.Plain(complaint); complaint != "" {
			e.why += " (" + complaint + ")"
		}
	case reason == "host-signal":
		e.why = "power cut: its process on the server was told to end"
	case !strings.HasPrefix(reason, "guest-"):
		e.why = "power cut: " + reason
	case panicked != "" && e.again: // who switches it off after such words does that
		e.crashed, e.why = true, panicked
	case strings.Contains(string(said), hangs), timedOut.Match(said):
		e.why = hung
	}
	return e
}
