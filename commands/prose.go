package commands

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Sentences are broken between words to fit the width of a terminal, as it is when
// they are written. A command that the reader is told to type is not broken: it
// begins a line if it must, and is left to the terminal if it is longer than that,
// so that it can be copied. Tables, JSON and what nodes print are not touched, and
// without a terminal nothing is.

// narrowest is the least width, in characters, that text is broken for.
const narrowest = 20

// width is the width that sentences are broken for, 0 for none.
func (s *Session) width() int {
	if s.Terminal == nil {
		return 0
	}
	if width, _ := s.Terminal.Size(); width >= narrowest {
		return width
	}
	return 0
}

// say tells the user a result in words.
func (c *Call) say(format string, args ...any) { c.sayTo(c.Out, format, args...) }

func (c *Call) sayTo(w io.Writer, format string, args ...any) {
	io.WriteString(w, c.fit(c.Session, clean(fmt.Sprintf(format, args...))+"\n"))
}

// Tell writes a text to Err, whose lines are sentences.
func (a *App) Tell(s *Session, text string) { io.WriteString(s.Err, a.fit(s, text)) }

// fit returns a text, whose lines are sentences, as the session's terminal can
// show it.
func (a *App) fit(s *Session, text string) string {
	width := s.width()
	if width == 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		whole, end := strings.CutSuffix(line, "\n")
		hang := indentOf(whole) + 2
		if strings.HasPrefix(whole, "walt: ") {
			hang = len("walt: ")
		}
		b.WriteString(a.fold(whole, width, hang))
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// fitHelp does it for a text of help: lines of a paragraph are filled, a row of two
// width is broken in the second, and a listing stays as it is.
func (a *App) fitHelp(s *Session, text string) string {
	width := s.width()
	if width == 0 || !wider(text, width) {
		return text
	}
	var b strings.Builder
	begun, hang, open := "", 0, false // what is not written yet
	flush := func() {
		if begun != "" {
			b.WriteString(a.fold(begun, width, hang) + "\n")
		}
		begun, open = "", false
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		words, indent := strings.TrimLeft(line, " "), indentOf(line)
		column, row := secondColumn(line)
		bullet := strings.HasPrefix(words, "- ")
		switch {
		case words == "":
			flush()
			b.WriteByte('\n')
		case open && indent == hang && !row && !bullet:
			begun += " " + words
		case bullet:
			flush()
			begun, hang, open = line, indent+len("- "), true
		case row && column+narrowest <= width:
			flush()
			begun, hang, open = line, column, true
		case indent >= 4:
			flush()
			b.WriteString(line + "\n")
		default:
			flush()
			begun, hang, open = line, indent, indent == 0 && line[0] != '#'
		}
	}
	flush()
	return b.String()
}

// wider reports whether a line of a text does not fit a width.
func wider(text string, width int) bool {
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > width {
			return true
		}
	}
	return false
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// secondColumn returns where the second of two columns begins; a comment of a
// listing is none.
func secondColumn(line string) (at int, ok bool) {
	indent := indentOf(line)
	first, second, ok := strings.Cut(line[indent:], "  ")
	second = strings.TrimLeft(second, " ")
	if !ok || strings.Contains(second, "  ") || strings.HasPrefix(second, "#") {
		return 0, false
	}
	at = utf8.RuneCountInString(line) - utf8.RuneCountInString(second)
	return at, first != ""
}

// fold breaks a line between words, so that the parts fit a width; all but the
// first begin with as many blanks as hang says.
func (a *App) fold(line string, width, hang int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	var b strings.Builder
	indent := indentOf(line)
	b.WriteString(line[:indent])
	used, blanks := indent, 0 // of the line that is being written, and before the next part
	for i := indent; i < len(line); {
		part := line[i : i+a.unbroken(strings.TrimSpace(line[:i]), line[i:])]
		size := utf8.RuneCountInString(part)
		if i > indent && used+blanks+size > width {
			b.WriteString("\n" + strings.Repeat(" ", hang))
			used, blanks = hang, 0
		}
		b.WriteString(strings.Repeat(" ", blanks) + part)
		used += blanks + size
		i += len(part)
		blanks = indentOf(line[i:])
		i += blanks
	}
	b.WriteString(strings.Repeat(" ", blanks)) // behind a question
	return b.String()
}

// unbroken returns the length of what stays on one line at the beginning of a text:
// a command that is to be typed, an optional part of a usage line, or a word.
func (a *App) unbroken(before, text string) int {
	word := wordEnd(text, 0)
	if strings.HasPrefix(text, "(see: ") {
		if i := strings.IndexByte(text, ')'); i > word {
			return wordEnd(text, i)
		}
	}
	if text[0] == '[' {
		if i := strings.IndexByte(text, ']'); i > word {
			return i + 1 + len(text[i+1:]) - len(strings.TrimLeft(text[i+1:], ".]"))
		}
	}
	begins := before == "" || strings.HasSuffix(before, ":") && before != "walt:" && !strings.HasSuffix(strings.ToLower(before), "usage:") ||
		strings.HasSuffix(before, ", or") || strings.HasSuffix(before, ", then")
	if !begins || !a.isCommand(text) {
		return word
	}
	end := len(text)
	for _, stop := range []string{"; ", ")", ", ", " ("} {
		if i := strings.Index(text[:end], stop); i > 0 {
			end = i + len(strings.TrimRight(stop, " ("))
		}
	}
	return wordEnd(text, end) // with what is behind ")"
}

// wordEnd returns where the word ends that stands at a place.
func wordEnd(text string, at int) int {
	if i := strings.IndexByte(text[at:], ' '); i >= 0 {
		return at + i
	}
	return len(text)
}

// isCommand reports whether a text begins with a command line, here or of ssh or
// waltd.
func (a *App) isCommand(text string) bool {
	if strings.HasPrefix(text, "ssh ") || strings.HasPrefix(text, "waltd ") {
		return true
	}
	cmd, _, ok := a.lookup(strings.Fields(text))
	return ok && cmd.Instead == ""
}
