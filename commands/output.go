package commands

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"walt/fault"
	"walt/images"
)

// clean replaces what could steer a terminal: control characters and invalid
// UTF-8.
func clean(s string) string {
	if plain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// plain reports whether s has nothing but visible characters of ASCII, as nearly all
// that is shown.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// steers reports whether a character does something to a terminal, or to the
// order of the text around it, instead of being shown.
func steers(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// bufferSize is how much is written to a session at once, in bytes, when there is
// as much.
const bufferSize = 32 << 10

// print writes v as one JSON document.
func (c *Call) print(v any) error { return printTo(c.Out, v) }

func printTo(w io.Writer, v any) error { return newEncoder(w).Encode(v) }

func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(escaper{w})
	enc.SetEscapeHTML(false)
	return enc
}

// escaper writes JSON, a document with each Write, in which what could steer a terminal is
// escaped, as JSON itself asks for some of it. Those who read it get what it is.
type escaper struct{ io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	if !slices.ContainsFunc(p, func(c byte) bool { return c >= 0x7f }) { // what is below ' ' is escaped
		return e.Writer.Write(p)
	}
	var b bytes.Buffer
	for _, r := range string(p) {
		if r != '\n' && steers(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	_, err := e.Writer.Write(b.Bytes())
	return len(p), err
}

// list writes, an element at a time, what print writes of a document that is one
// list with a name.
type list struct {
	out     *bufio.Writer
	before  string // what stands before the next element
	element bytes.Buffer
	encoder *json.Encoder // to element
}

func newList(out *bufio.Writer, name string) *list {
	l := &list{out: out, before: fmt.Sprintf("{%q:[", name)}
	l.encoder = newEncoder(&l.element)
	return l
}

func (l *list) add(v any) error {
	l.element.Reset()
	if err := l.encoder.Encode(v); err != nil {
		return err
	}
	l.out.WriteString(l.before)
	l.before = ","
	_, err := l.out.Write(bytes.TrimSuffix(l.element.Bytes(), []byte("\n")))
	return err
}

func (l *list) end() error {
	if l.before != "," {
		l.out.WriteString(l.before)
	}
	l.out.WriteString("]}\n")
	return l.out.Flush()
}

// rows writes rows to the session's output, with a bold heading on a terminal.
func (c *Call) rows(heading []string, rows [][]string) {
	columns(c.Out, c.table(), c.fancy(), heading, rows)
}

// lines writes what a function prints, all of it at once: it is at hand.
func (c *Call) lines(print func(w io.Writer)) {
	var b bytes.Buffer
	print(&b)
	if b.Len() > 0 {
		_, _ = c.Out.Write(b.Bytes())
	}
}

// note tells the user something that is not a result, and so goes to Err.
func (c *Call) note(format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...)) + "\n"
	c.write(func() { c.Tell(c.Session, text) })
}

// progress shows how a transfer goes, until end is called: a bar on a terminal,
// a line for each finished layer without one.
func (c *Call) progress(what string) (report func(images.Progress), end func()) {
	if !c.fancy() {
		return func(p images.Progress) {
			if p.Note != "" {
				c.note("%s", p.Note)
			} else if p.Layer != "" {
				c.note("%s: %s done, %s", what, shortDigest(p.Layer), size(p.Total))
			}
		}, func() {}
	}
	began := c.Now()
	var last time.Time
	return func(p images.Progress) {
			if p.Note != "" {
				c.wipe()
				c.note("%s", p.Note)
				return
			}
			now := c.Now()
			if p.Layer != "" || p.Total == 0 || now.Sub(last) < barEvery && !p.Finished {
				return
			}
			last = now
			width, _ := c.Terminal.Size()
			c.fleeting("%s", bar(what, p, now.Sub(began), width))
		}, func() {
			if !last.IsZero() {
				c.wipe()
			}
		}
}

// barEvery is how often a bar is drawn at most.
const barEvery = 100 * time.Millisecond

// bar is a line that leaves room for "^C" in the width, as in
// "lab:ann/tool  [#####.....]  50 %  1.5 MiB of 3.0 MiB  1.5 MiB/s  1s left".
// What does not fit is the rate, then most of the bar, then the end of the line.
func bar(what string, p images.Progress, elapsed time.Duration, width int) string {
	rate := float64(p.Done) / max(elapsed.Seconds(), 0.001)
	left := "-"
	if rate > 0 {
		left = (time.Duration(float64(p.Total-p.Done)/rate) * time.Second).String()
	}
	const room = len("^C") + 1
	draw := func(cells int64, rate string) string {
		full := p.Done * cells / p.Total
		return fmt.Sprintf("%s  [%s%s] %3d %%  %s of %s  %s%s left", clean(what), strings.Repeat("#", int(full)), strings.Repeat(".", int(cells-full)),
			p.Done*100/p.Total, size(p.Done), size(p.Total), rate, left)
	}
	line := draw(20, size(int64(rate))+"/s  ")
	for _, cells := range []int64{20, 10, 5} {
		if width > 0 && len(line)+room > width {
			line = draw(cells, "")
		}
	}
	if width > 0 && len(line)+room > width {
		line = line[:max(width-room, 0)]
	}
	return line
}

// minute is a moment for people.
func minute(t time.Time) string {
	if undated(t) {
		return "at an unknown date"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// day is a date for people; "-" is not known.
func day(t time.Time) string {
	if undated(t) {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

// undated reports whether a time says nothing: builders who want the same image
// from the same source leave it out, or set it to the first second of 1970.
func undated(t time.Time) bool { return t.Unix() <= 0 }

// ago is a past instant for people, as in "5 minutes ago".
func ago(now, t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case now.Sub(t) < time.Minute:
		return "just now"
	}
	return humanize.RelTime(t, now, "ago", "")
}

// ages returns ago of one moment, for many instants: it makes each text once, of which
// there are few.
func ages(now time.Time) func(time.Time) string {
	made := map[time.Duration]string{}
	return func(t time.Time) string {
		if t.IsZero() {
			return ago(now, t)
		}
		age := now.Sub(t)
		switch { // nobody is told more about it
		case age >= 24*time.Hour:
			age = age.Truncate(24 * time.Hour)
		case age >= time.Hour:
			age = age.Truncate(time.Hour)
		default:
			age = age.Truncate(time.Minute)
		}
		text, known := made[age]
		if !known {
			text = ago(now, now.Add(-age))
			made[age] = text
		}
		return text
	}
}

// in is a future instant for people, as in "in 5 minutes".
func in(now, t time.Time) string {
	if t.Sub(now) < time.Second {
		return "now"
	}
	return "in " + strings.TrimSpace(humanize.RelTime(now, t.Add(time.Second/2), "", "")) // half a second was spent
}

// duration parses a positive length of time, as in 90s, 5m, 2h or 3d; a number
// alone is seconds.
func duration(what, s string) (time.Duration, error) {
	text, unit := withUnit(s), time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, unit = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > math.MaxInt64/unit {
		return 0, fault.Usagef("%s: %q is not a length of time", what, s).WithHint("it looks like 90s, 5m, 2h or 3d")
	}
	return d * unit, nil
}

// withUnit is a length of time as it was typed, with the unit of a number alone.
func withUnit(s string) string {
	if _, err := strconv.ParseUint(s, 10, 63); err == nil {
		return s + "s"
	}
	return s
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// size is a number of bytes for people, in binary units.
func size(n int64) string { return humanize.IBytes(uint64(n)) }

// count is a number of things, as in "1 file" and "2 files".
func count(n int, thing string) string { return english.Plural(n, thing, "") }

// shortDigest is the beginning of a digest, enough to tell it from others.
func shortDigest(d string) string {
	const enough = len("sha256:") + 12
	return d[:min(len(d), enough)]
}
