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

// What is on the serial line of a machine that does not end as it should. The kernel
// writes a panic there however quiet it is.
var panicForm = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]+)`)

// timedOut is what systemd writes, in several versions, before it cuts a shutdown short as
// our init has told it to.
var timedOut = regexp.MustCompile(`Timed out starting (\x1b\[[0-9;]*m)*(System )?([Rr]eboot|[Pp]ower.?[Oo]ff)`)

// longestPanic is how many bytes of what a kernel says of its panic are kept: it writes
// no longer lines, but whatever runs on a machine does.
const longestPanic = 500

const (
	initEnded = "Attempted to kill init!"  // of the kernel
	hangs     = "walt: the shutdown hangs" // of the agent, which then cuts it short
	hung      = "its shutdown hung, and was cut short"
	// unanswered is of a machine that an earlier server left.
	unanswered = "power cut: it did not answer the server, which had started anew"
	powerCut   = "power cut: its process on the server was killed, or crashed"
)

// endingOf reads why a machine ended: reason is that of QEMU's event SHUTDOWN, see
// https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html, and "" when there was
// none, complaint the last that QEMU had to say, and said what the machine wrote on its
// serial line since it started.
func endingOf(reason, complaint string, said []byte) ending {
	e := ending{again: reason == "guest-reset"}
	panics := panicForm.FindSubmatch(said) // the first of several
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
	case panics != nil && e.again: // who switches it off after such words does that
		e.crashed = true
		text := strings.ToValidUTF8(string(panics[1][:min(len(panics[1]), longestPanic)]), "")
		text = strings.TrimSpace(nodes.Plain(text))
		if e.why = "kernel panic: " + text; strings.HasPrefix(text, initEnded) {
			e.why = "its init ended (" + e.why + ")"
		}
	case strings.Contains(string(said), hangs), timedOut.Match(said):
		e.why = hung
	}
	return e
}
