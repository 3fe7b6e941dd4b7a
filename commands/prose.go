package commands

import (
	"fmt"
	"io"
	"strings"
)

// Sentences are broken between words to fit the width of a terminal, as it is when
// they are written. A command that the reader is told to type is not broken: it
// begins a line if it must, and is left to the terminal if it is longer than that,
// so that it can be copied. Tables are broken between columns. JSON and what nodes print
// are not touched, and without a terminal nothing is.

// narrowest is the least width, in cells, that text is broken for.
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
	text := c.fit(c.Session, clean(fmt.Sprintf(format, args...))+"\n")
	c.write(func() { io.WriteString(w, text) })
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
// columns is broken in the second, which begins below the first where little room is
// beside it, and a listing stays as it is, but for its comments.
func (a *App) fitHelp(s *Session, text string) string {
	width := s.width()
	if width == 0 || !wider(text, width) {
		return text
	}
	f := filler{app: a, width: width, column: -1}
	for line := range strings.Lines(text) {
		f.add(strings.TrimRight(line, "\n"))
	}
	f.flush()
	return f.text.String()
}

// listing is how many blanks begin the lines of a listing, at least.
const listing = 4

// filler fills the lines of a text of help.
type filler struct {
	app   *App
	width int
	text  strings.Builder

	// What is not written yet.
	lead   string // stays as it is
	begun  string // is broken
	hang   int    // blanks before each line of it but the first
	mark   string // behind them
	column int    // where a line begins that goes on with it, -1: none does
}

// flush writes what is not written yet.
func (f *filler) flush() {
	if f.lead+f.begun != "" {
		f.text.WriteString(f.app.foldBehind(f.lead, f.begun, f.width, strings.Repeat(" ", f.hang)+f.mark) + "\n")
	}
	f.lead, f.begun, f.mark, f.column = "", "", "", -1
}

// add takes the next line of the text.
func (f *filler) add(line string) {
	words, indent := strings.TrimLeft(line, " "), indentOf(line)
	at, mark, row := secondColumn(line)
	bullet := strings.HasPrefix(words, "- ") && indent < listing
	if f.column == indent && words != "" && !row && !bullet && strings.HasPrefix(words, f.mark) {
		f.begun += " " + strings.TrimPrefix(words, f.mark)
		return
	}
	f.flush()
	switch {
	case words == "":
		f.text.WriteByte('\n')
	case bullet:
		f.lead, f.begun, f.hang = line[:indent], words, indent+len("- ")
		f.column = f.hang
	case row:
		f.column = cellsOf(line[:at])
		f.lead, f.begun, f.hang, f.mark = line[:at], line[at:], f.column, mark
		if f.column+narrowest > f.width {
			f.hang = indent + 4
			f.lead = strings.TrimRight(f.lead, " ") + "\n" + strings.Repeat(" ", f.hang)
		}
	case indent >= listing:
		f.text.WriteString(line + "\n")
	default:
		f.lead, f.begun, f.hang = line[:indent], words, indent
		if indent == 0 && line[0] != '#' {
			f.column = 0
		}
	}
}

// wider reports whether a line of a text does not fit a width.
func wider(text string, width int) bool {
	for line := range strings.Lines(text) {
		if cellsOf(strings.TrimSuffix(line, "\n")) > width {
			return true
		}
	}
	return false
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// secondColumn returns where the second of two columns begins, in bytes, and the mark
// of each of its lines: "# " of the comment in a listing, else none. The name of a list may
// stand before the first row.
func secondColumn(line string) (at int, mark string, ok bool) {
	const comment = "# "
	indent := indentOf(line)
	if i := strings.Index(line[indent:], " "+comment); i > 0 && indent >= listing {
		return indent + i + 1, comment, true
	}
	first, second, ok := strings.Cut(line[indent:], "  ")
	second = strings.TrimLeft(second, " ")
	if name, rest, more := strings.Cut(second, "  "); more && indent == 0 { // behind the name of a list
		first, second = name, strings.TrimLeft(rest, " ")
	}
	return len(line) - len(second), "", ok && first != "" && !strings.Contains(second, "  ")
}

// fold breaks a line between words, so that the parts fit a width; all but the
// first begin with as many blanks as hang says.
func (a *App) fold(line string, width, hang int) string {
	indent := indentOf(line)
	return a.foldBehind(line[:indent], line[indent:], width, strings.Repeat(" ", hang))
}

// foldBehind breaks a text behind a lead, which stays as it is, between words, so that
// the lines fit a width. All lines that it begins have a prefix.
func (a *App) foldBehind(lead, text string, width int, prefix string) string {
	var b strings.Builder
	b.WriteString(lead)
	used, blanks := cellsOf(lead[strings.LastIndexByte(lead, '\n')+1:]), 0 // of the line that is being written, and before the next part
	if used+cellsOf(text) <= width {
		return lead + text
	}
	for i := 0; i < len(text); {
		part := text[i : i+a.unbroken(strings.TrimSpace(lead+text[:i]), text[i:])]
		size := cellsOf(part)
		if i > 0 && used+blanks+size > width {
			b.WriteString("\n" + prefix)
			used, blanks = cellsOf(prefix), 0
		}
		b.WriteString(strings.Repeat(" ", blanks) + part)
		used += blanks + size
		i += len(part)
		blanks = indentOf(text[i:])
		i += blanks
	}
	b.WriteString(strings.Repeat(" ", blanks)) // behind a question
	return b.String()
}

// unbroken returns the length of what stays on one line at the beginning of a text:
// a command that is to be typed, or is in quotes, an optional part of a usage line, or a word.
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
	if text[0] == '"' && a.isCommand(text[1:]) {
		if i := strings.IndexByte(text[1:], '"'); i+1 > word {
			return wordEnd(text, i+1)
		}
	}
	begins := before == "" || strings.HasSuffix(before, ":") && before != "walt:" && !strings.HasSuffix(strings.ToLower(before), "usage:") ||
		strings.HasSuffix(before, ",") || strings.HasSuffix(before, ", or") || strings.HasSuffix(before, ", then")
	if !begins || !a.isCommand(text) {
		return word
	}
	end := len(text)
	for _, stop := range []string{"; ", ")", ", ", ": ", " ("} {
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

// isCommand reports whether a text begins with a command line, here or of a shell.
func (a *App) isCommand(text string) bool {
	for _, program := range []string{"ssh ", "waltd ", "docker "} {
		if strings.HasPrefix(text, program) {
			return true
		}
	}
	cmd, _, ok := a.lookup(strings.Fields(text))
	return ok && cmd.Instead == ""
}
