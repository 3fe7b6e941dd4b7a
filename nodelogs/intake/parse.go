package intake

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// syslogStream is that of what says no other.
const syslogStream = "syslog"

// tag is what a program calls itself in front of what it says, as in "exp1[12]: text".
var tag = regexp.MustCompile(`^([^\s:\[\]]{1,48})(?:\[[^\s\]]{1,32}\])?:(?: |$)`)

// priority is that of a message, which says nothing that is kept.
var priority = regexp.MustCompile(`^<[0-9]{1,3}>`)

// stamped is what is in front of a message that rsyslog passes on: priority, a long time, which
// may have a fraction, and the name of the host.
var stamped = regexp.MustCompile(`^<[0-9]{1,3}>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(?:Z|[+-][0-9]{2}:[0-9]{2}) [^\s:]{1,255} `)

// parser takes messages apart, one at a time.
type parser struct{ new, old syslog.Machine }

func newParser() parser {
	return parser{rfc5424.NewParser(), rfc3164.NewParser()}
}

// syslog returns the name of the program that says a message, and what it says. One that is
// in no form known is taken as it is.
func (p parser) syslog(b []byte) (stream, text string) {
	b = bytes.TrimRight(b, "\r\n\x00")
	said, err := p.new.Parse(b) // without an error there may be nothing, too
	if m, ok := said.(*rfc5424.SyslogMessage); ok && err == nil {
		text := strings.TrimPrefix(value(m.Message), "\ufeff")
		return named(m.Appname), strings.TrimPrefix(text, " ") // which rsyslog puts there
	}
	if head := stamped.Find(b); head != nil {
		return tagged(string(b[len(head):]))
	}
	said, err = p.old.Parse(b)
	if m, ok := said.(*rfc3164.SyslogMessage); ok && err == nil {
		if m.Appname != nil {
			return named(m.Appname), value(m.Message)
		}
		return tagged(value(m.Message))
	}
	return tagged(string(priority.ReplaceAll(b, nil)))
}

// tagged takes a text apart that may begin with the name of a program.
func tagged(text string) (stream, rest string) {
	if m := tag.FindStringSubmatch(text); m != nil {
		return m[1], text[len(m[0]):]
	}
	return syslogStream, text
}

func named(name *string) string {
	if name == nil || *name == "" {
		return syslogStream
	}
	return *name
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// lines are those of a text.
func lines(stream, text string) (string, []string) { return stream, strings.Split(text, "\n") }
