package nodes

import (
	"context"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"walt/auth"
	"walt/journal"
)

// Speaker is a Host whose nodes have a console.
type Speaker interface {
	// Console returns the last that a node wrote there in its present boot, or in its
	// last one when it is off.
	Console(Name) []byte
}

const (
	consoleLines = 10  // that are shown of a console
	consoleLine  = 200 // characters of each
)

// lastWritten returns the last lines of the console of a node, in plain text, and whose they
// are: of a machine the owner's of the image that it booted, of a board the node's.
func (l *Lab) lastWritten(d Device) (lines []string, of auth.Name) {
	if host, has := l.Hosts[d.Host].(Speaker); has {
		return lastLines(host.Console(d.Name)), d.Booted.User
	}
	if l.Lines == nil || d.Virtual() || d.Settings().Serial == "" {
		return nil, d.Booted.User
	}
	return lastLines(l.Lines.Of(d.MAC).Last(d.term())), d.Owner()
}

// reads reports whether a user who is no administrator may see what a node wrote that
// booted an image of the owner.
func reads(user, owner auth.Name) bool { return owner == user || owner == auth.Nobody }

// Readable is what a user may know of an event: the lines of a console are for whom
// Detail shows them to. Those of a user who was removed are not for one who got the name
// later.
func Readable(e journal.Event, user auth.User) journal.Event {
	later := auth.Name(e.Reader) == user.Name && e.Time.Before(user.Created)
	if !user.Admin && (later || !reads(user.Name, auth.Name(e.Reader))) {
		e.Lines = nil
	}
	return e
}

// giveUp is the event that a node does not come up, with the last that it wrote. The
// device is read in the transaction that records it: it wrote that in this very boot.
func (l *Lab) giveUp(d Device, at Step, detail string) journal.Event {
	lines, of := l.lastWritten(d)
	return journal.Event{
		Type: journal.Power, Actor: journal.Server, Node: string(d.Name), Detail: detail, Step: at.Word(),
		Lines: lines, Reader: string(of),
	}
}

// Plain is a text that a node wrote without what is not to be seen of it, on one line.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
}

// panicForm is what the kernel of a machine writes there when it gives up, however quiet it
// is.
var panicForm = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]+)`)

const (
	// longestPanic is how many bytes of that are kept: it writes no longer lines, but
	// whatever runs on a machine does.
	longestPanic = 500
	initEnded    = "Attempted to kill init!" // of the kernel
)

// Panic is why the kernel of a machine gave up, by what the machine wrote, in words for
// users; "" when it wrote nothing of that.
func Panic(written []byte) string {
	first := panicForm.FindSubmatch(written) // of several
	if first == nil {
		return ""
	}
	text := strings.ToValidUTF8(string(first[1][:min(len(first[1]), longestPanic)]), "")
	text = strings.TrimSpace(Plain(text))
	why := "kernel panic: " + text
	if strings.HasPrefix(text, initEnded) {
		return "its init ended (" + why + ")"
	}
	return why
}

// panicked is Panic of a node.
func (l *Lab) panicked(ctx context.Context, n Name) string {
	kind, err := read(ctx, l.view, func() HostKind {
		if d := l.view.named[n]; d != nil {
			return d.Host
		}
		return Physical
	})
	if host, has := l.Hosts[kind].(Speaker); err == nil && has {
		return Panic(host.Console(n))
	}
	return ""
}

// steering is what makes a terminal do something, see ECMA-48.
var steering = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)?|[ -/]*[0-~])?")

// lastLines returns the last lines of what was written to a terminal that are not empty,
// without what would steer one.
func lastLines(written []byte) (lines []string) {
	text := steering.ReplaceAllString(strings.ToValidUTF8(string(written), "?"), "")
	for text != "" && len(lines) < consoleLines {
		at := strings.LastIndexByte(text, '\n')
		line := strings.TrimRight(text[at+1:], "\r ")
		text = text[:max(at, 0)]
		if begun := strings.LastIndexByte(line, '\r'); begun >= 0 { // it was written over
			line = line[begun+1:]
		}
		line = Plain(line)
		if utf8.RuneCountInString(line) > consoleLine {
			line = string([]rune(line)[:consoleLine]) + "..."
		}
		if strings.TrimSpace(line) != "" {
			lines = append([]string{line}, lines...)
		}
	}
	return lines
}
