package sshd

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// screen stands between x/term and the terminal. x/term takes each character for one cell,
// but letters of Chinese and most emoji take two, and marks that combine with a letter take
// none. The screen follows what x/term draws: a line of characters that take one cell each it
// passes on as it comes, others it draws itself.
type screen struct {
	wire io.Writer
	dumb bool // the terminal knows no escape sequences

	mu    sync.Mutex
	width int      // of the terminal, in cells
	rows  [][]rune // what x/term has drawn since the last Enter, prompts first
	x, y  int      // where it believes that the cursor is
	full  bool     // it has filled a row, whose end is next
	shown drawing  // what the terminal shows of it
}

// drawing is a line as it is on the terminal.
type drawing struct {
	text        string // with the ends of full rows
	end, cursor place
	simple      bool // each character takes one cell
}

// place is where a cell is, seen from the beginning of the line.
type place struct{ row, column int }

func newScreen(t *tty) *screen {
	return &screen{wire: t.wire, dumb: t.name == "dumb", shown: drawing{simple: true}}
}

// resize tells how wide the terminal is. One that became narrower has broken its rows:
// which column the cursor is in nobody knows, at most the last.
func (s *screen) resize(width int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if width < s.width {
		row := s.shown.cursor.column / max(1, width)
		for _, full := range strings.Split(s.shown.text, "\r\n")[:s.shown.cursor.row] {
			row += (displaywidth.String(full) + width - 1) / max(1, width)
		}
		s.shown.cursor = place{row, s.width}
	}
	s.width = max(1, width)
	s.x = min(s.x, s.width-1)
}

// Write shows what x/term draws.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.shown
	enter := s.follow(p)
	s.shown = s.draw()
	out := p
	switch {
	case !before.simple || !s.shown.simple:
		out = s.redraw(before, bytes.Contains(p, []byte(clearScreen)))
		if enter {
			out = append(out, "\r\n"...)
		}
	case s.dumb:
		out = plain(p)
	}
	if enter {
		s.rows, s.x, s.y, s.shown = nil, 0, 0, drawing{simple: true}
	}
	if _, err := s.wire.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// above shows an output above the line.
func (s *screen) above(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []byte
	if s.shown.text != "" {
		out = s.erased(s.shown)
	}
	out = append(out, bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))...)
	out = append(out, s.shown.text...)
	if _, err := s.wire.Write(s.toCursor(out, s.shown)); err != nil {
		return 0, err
	}
	return len(p), nil
}

const clearScreen = "\x1b[2J"

var move = regexp.MustCompile(`^\x1b\[([0-9]*)([A-Za-z])`)

// follow does to the rows what x/term does to the terminal, and reports whether that was
// the end of the line.
func (s *screen) follow(p []byte) (enter bool) {
	for len(p) > 0 {
		if m := move.FindSubmatch(p); m != nil {
			s.obey(m[2][0], m[1])
			p = p[len(m[0]):]
			continue
		}
		r, n := utf8.DecodeRune(p)
		p = p[n:]
		switch {
		case r == '\n' && !s.full:
			enter = true
		case r == '\n':
			s.full = false
		case r != '\r':
			s.put(r)
		}
	}
	return enter
}

// obey does what an escape sequence says.
func (s *screen) obey(what byte, number []byte) {
	n, err := strconv.Atoi(string(number))
	if err != nil {
		n = 1
	}
	switch what {
	case 'A':
		s.y = max(0, s.y-n)
	case 'B':
		s.y += n
	case 'C':
		s.x += n
	case 'D':
		s.x = max(0, s.x-n)
	case 'H':
		s.x, s.y = 0, 0
	case 'J':
		s.rows = nil
	case 'K':
		if s.y < len(s.rows) {
			s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
		}
	}
	s.full = false
}

// put draws a character where the cursor is.
func (s *screen) put(r rune) {
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
	row := s.rows[s.y]
	for len(row) <= s.x {
		row = append(row, ' ')
	}
	row[s.x] = r
	s.rows[s.y] = row
	s.x++
	if s.full = s.x >= s.width; s.full {
		s.x, s.y = 0, s.y+1
	}
}

// draw sets the line for the terminal. Blanks behind it, with which x/term erases, are
// left out.
func (s *screen) draw() drawing {
	var before, behind []rune // the cursor
	for y, row := range s.rows {
		at := 0
		switch {
		case y < s.y:
			at = len(row)
		case y == s.y:
			at = min(s.x, len(row))
		}
		before, behind = append(before, row[:at]...), append(behind, row[at:]...)
	}
	text := string(before) + strings.TrimRight(string(behind), " ")
	d := drawing{simple: displaywidth.String(text) == utf8.RuneCountInString(text)}
	for _, r := range text {
		d.simple = d.simple && (r < utf8.RuneSelf || displaywidth.Rune(r) == 1)
	}
	d.text, d.end = s.lay(text)
	_, d.cursor = s.lay(string(before))
	return d
}

// lay breaks a text into rows, and tells where it ends.
func (s *screen) lay(text string) (string, place) {
	var b strings.Builder
	var end place
	next := func() {
		b.WriteString("\r\n")
		end = place{row: end.row + 1}
	}
	for all := displaywidth.StringGraphemes(text); all.Next(); {
		if end.column > 0 && end.column+all.Width() > s.width {
			next()
		}
		b.WriteString(all.Value())
		if end.column += all.Width(); end.column >= s.width {
			next()
		}
	}
	return b.String(), end
}

// redraw is what makes the terminal show the line, where it shows another one, or nothing
// if it is cleared first.
func (s *screen) redraw(before drawing, cleared bool) []byte {
	now := s.shown
	more, longer := strings.CutPrefix(now.text, before.text)
	if longer && before.cursor == before.end && now.cursor == now.end && !cleared {
		return []byte(more)
	}
	var out []byte
	if cleared && !s.dumb {
		out = []byte(clearScreen + "\x1b[H")
	} else {
		out = s.erased(before)
	}
	return s.toCursor(append(out, now.text...), now)
}

// erased is what takes a line from the terminal.
func (s *screen) erased(d drawing) []byte {
	if !s.dumb {
		return append(moved(nil, -d.cursor.row, -d.cursor.column), "\x1b[J"...)
	}
	back := bytes.Repeat([]byte{'\b'}, d.cursor.column)
	out := append(back, bytes.Repeat([]byte{' '}, d.end.column)...)
	return append(out, bytes.Repeat([]byte{'\b'}, d.end.column)...)
}

// toCursor appends what moves the cursor from the end of a line to its place.
func (s *screen) toCursor(out []byte, d drawing) []byte {
	if s.dumb {
		return append(out, bytes.Repeat([]byte{'\b'}, max(0, d.end.column-d.cursor.column))...)
	}
	return moved(out, d.cursor.row-d.end.row, d.cursor.column-d.end.column)
}

// moved appends a move of the cursor, by as many rows down and columns to the right.
func moved(out []byte, rows, columns int) []byte {
	for _, by := range []struct {
		n    int
		what byte
	}{{-rows, 'A'}, {rows, 'B'}, {columns, 'C'}, {-columns, 'D'}} {
		if by.n > 0 {
			out = fmt.Appendf(out, "\x1b[%d%c", by.n, by.what)
		}
	}
	return out
}
