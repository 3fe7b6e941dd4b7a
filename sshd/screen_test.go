package sshd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/term"
)

// glass is a terminal: what its cells show, and where its cursor is. The second cell of a
// character that takes two is empty.
type glass struct {
	width    int
	cells    map[place]string
	row, col int // col is width behind the last cell of a row
}

func (g *glass) Write(p []byte) (int, error) {
	for text := p; len(text) > 0; {
		if m := move.FindSubmatch(text); m != nil {
			n := 1
			_, _ = fmt.Sscan(string(m[1]), &n)
			g.obey(m[2][0], n)
			text = text[len(m[0]):]
			continue
		}
		r, n := utf8.DecodeRune(text)
		g.put(r)
		text = text[n:]
	}
	return len(p), nil
}

func (g *glass) obey(what byte, n int) {
	g.col = min(g.col, g.width-1)
	switch what {
	case 'A':
		g.row -= n
	case 'B':
		g.row += n
	case 'C':
		g.col = min(g.col+n, g.width-1)
	case 'D':
		g.col = max(g.col-n, 0)
	case 'H':
		g.row, g.col = 0, 0
	case 'J', 'K':
		for at := range g.cells {
			if at.row == g.row && at.column >= g.col || what == 'J' && (n == 2 || at.row > g.row) {
				delete(g.cells, at)
			}
		}
	}
}

func (g *glass) put(r rune) {
	width := displaywidth.Rune(r)
	switch {
	case r == '\r':
		g.col = 0
	case r == '\n':
		g.row++
	case r == '\b':
		g.col = max(0, min(g.col, g.width-1)-1)
	case width == 0:
		at := place{g.row, g.col - 1}
		switch cell, known := g.cells[at]; {
		case !known:
			g.cells[at] = " "
		case cell == "":
			at.column--
		}
		g.cells[at] += string(r)
	default:
		if g.col+width > g.width {
			g.row, g.col = g.row+1, 0
		}
		if half, known := g.cells[place{g.row, g.col}]; known && half == "" { // half of another is gone with it
			delete(g.cells, place{g.row, g.col - 1})
		}
		g.cells[place{g.row, g.col}] = string(r)
		if g.col++; width == 2 {
			g.cells[place{g.row, g.col}] = ""
			g.col++
		}
	}
}

// reflow makes the terminal wider, or narrower: rows that are too long are broken, those
// that were are not joined.
func (g *glass) reflow(width int) {
	rows, cells := 0, map[place]string{}
	cursor := place{g.row, g.col}
	for y := range 40 {
		next := place{row: rows}
		for x := range g.width {
			cell, known := g.cells[place{y, x}]
			if known && next.column+max(1, displaywidth.String(cell)) > width && cell != "" {
				next = place{row: next.row + 1}
			}
			if (place{y, x}) == (place{g.row, g.col}) {
				cursor = next
			}
			if known {
				cells[next] = cell
			}
			next.column++
		}
		rows = next.row + 1
	}
	*g = glass{width: width, cells: cells, row: cursor.row, col: min(cursor.column, width-1)}
}

// from is what the rows show from one on, and where the cursor is.
func (g *glass) from(row int) string {
	var rows []string
	for at, cell := range g.cells {
		for len(rows) <= at.row {
			rows = append(rows, "")
		}
		if at.row >= row && cell != "" {
			rows[at.row] = ""
		}
	}
	for y := range rows {
		for x := range g.width {
			cell, known := g.cells[place{y, x}]
			if !known {
				cell = " "
			}
			rows[y] += cell
		}
		rows[y] = strings.TrimRight(rows[y], " ")
	}
	for len(rows) > row && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	return fmt.Sprintf("%s\ncursor %d,%d", strings.Join(rows[min(row, len(rows)):], "\n"), g.row-row, min(g.col, g.width-1))
}

// typist types keys one by one, and looks at the terminal before each.
type typist struct {
	keys   []string
	screen *screen
	glass  *glass
	line   []rune
	pos    int
	begins int // the row in which the prompt is
	editor *term.Terminal
}

func (p *typist) Read(buf []byte) (int, error) {
	if err := p.look(); err != nil {
		return 0, err
	}
	if len(p.keys) == 0 {
		return 0, io.EOF
	}
	key := p.keys[0]
	p.keys = p.keys[1:]
	switch key {
	case "narrower", "wider":
		width := p.glass.width / 2
		if key == "wider" {
			width = p.glass.width * 2
		}
		p.glass.reflow(width)
		p.screen.resize(width)
		_ = p.editor.SetSize(width, 24)
		return p.Read(buf)
	case "above":
		_, _ = p.screen.above([]byte("told\n"))
		p.begins++
		return p.Read(buf)
	case "\x02": // left
		p.pos = max(0, p.pos-1)
	case "\x06": // right
		p.pos = min(len(p.line), p.pos+1)
	case "\x01":
		p.pos = 0
	case "\x05":
		p.pos = len(p.line)
	case "\x7f":
		if p.pos > 0 {
			p.pos--
			p.line = slices.Delete(p.line, p.pos, p.pos+1)
		}
	case "\x15": // all before the cursor
		p.line, p.pos = slices.Clone(p.line[p.pos:]), 0
	case "\t": // completes to this
		p.line, p.pos = []rune("a界 b"), 2
	case "\x0c": // clear
		p.begins = 0
	default:
		p.line = slices.Insert(p.line, p.pos, []rune(key)...)
		p.pos += utf8.RuneCountInString(key)
	}
	return copy(buf, key), nil
}

// look compares the terminal with one on which the line is written at once.
func (p *typist) look() error {
	want := &glass{width: p.glass.width, cells: map[place]string{}}
	before, _ := p.screen.lay("> " + string(p.line[:p.pos]))
	_, _ = want.Write([]byte(before))
	row, col := want.row, want.col
	want = &glass{width: p.glass.width, cells: map[place]string{}}
	all, _ := p.screen.lay("> " + string(p.line))
	_, _ = want.Write([]byte(all))
	want.row, want.col = row, col
	if got := p.glass.from(p.begins); got != want.from(0) {
		return fmt.Errorf("of %q with the cursor at %d, %q to go, the terminal shows\n%s\nwant\n%s", string(p.line), p.pos, p.keys, got, want.from(0))
	}
	return nil
}

// typeKeys has the keys typed on a terminal of a width.
func typeKeys(t *testing.T, width int, dumb bool, keys []string) {
	g := &glass{width: width, cells: map[place]string{}}
	s := &screen{wire: g, dumb: dumb, shown: drawing{simple: true}}
	s.resize(width)
	p := &typist{keys: keys, screen: s, glass: g}
	p.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{p, s}, "> ")
	p.editor.AutoCompleteCallback = func(_ string, _ int, key rune) (string, int, bool) {
		return "a界 b", len("a界"), key == tab
	}
	_ = p.editor.SetSize(width, 24)
	if _, err := p.editor.ReadLine(); err != io.EOF {
		t.Fatal(err)
	}
}

// A line of characters that take two cells, or none, is edited as any other.
func TestWideLines(t *testing.T) {
	const left, right, home, end, rubout, clear = "\x02", "\x06", "\x01", "\x05", "\x7f", "\x0c"
	for _, keys := range [][]string{
		{"a", "世", "界", left, left, "b", rubout, rubout, right, "c", home, "d", end, "e"},
		{"世", rubout, "a", left, rubout, "b"},
		{"e", "\u0301", "x", left, left, "y", end, rubout, rubout, rubout, "z"},
		{"👍", "above", "👍", left, "above", "a", "above", rubout, rubout},
		{"世", "界", left, clear, "a", end, clear, "b"},
		{"a", "b", left, "above", rubout, "above"},
		{"世", "世", "世", "\t", "界", "\t", rubout, left},
	} {
		typeKeys(t, 40, false, keys)
		typeKeys(t, 5, false, keys)
		if !slices.Contains(keys, clear) && !slices.Contains(keys, "above") {
			typeKeys(t, 40, true, keys)
		}
	}
	typeKeys(t, 24, false, []string{"世界世界世界世界", "narrower", "a", left, "wider", rubout, "above", "wider", "b", "narrower"})
	typeKeys(t, 24, false, []string{"世界世界世界世界世界世界世界世界世界", left, "narrower", left, "a"})
}

// The screen shows the line, whatever is typed.
func FuzzScreen(f *testing.F) {
	alphabet := []string{"a", "é", "世", "👍", "\u0301", " ", "\x02", "\x02", "\x06", "\x01", "\x05", "\x7f", "\x7f", "\x15", "above", "\x0c", "\t"}
	for _, seed := range []string{"0123456789abcdef", "2222222266662222", "22222d7777777", "0222077710ce07", "23232:2222:77:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, choices string) {
		var keys []string
		for _, c := range []byte(choices[:min(len(choices), 200)]) {
			keys = append(keys, alphabet[int(c)%len(alphabet)])
		}
		typeKeys(t, 6+len(choices)%20, false, keys)
	})
}
