package commands

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// columns writes rows as a table that is empty so far, under an optional heading, each
// column as wide as its widest cell. Control characters in cells are made visible.
func columns(w io.Writer, t table, bold bool, heading []string, rows [][]string) {
	t.fit(heading)
	for _, row := range rows {
		t.fit(row)
	}
	// Nobody keeps the rows while the text waits for its client.
	var text bytes.Buffer
	out := bufio.NewWriter(&text)
	t.head(out, bold, heading)
	for _, row := range rows {
		t.write(out, row)
	}
	out.Flush()
	_, _ = w.Write(text.Bytes())
}

// cellsOf returns how many cells of a terminal a clean text takes: letters of Chinese and
// most emoji take two, marks that combine with the letter before them none.
func cellsOf(text string) int { return displaywidth.String(text) }

// table aligns the cells of rows, which are all shown to fit before the first is
// written. It keeps none of them.
type table struct {
	width int // of the terminal, in its cells; 0: rows are of any length
	// fold breaks cells that are wider than that, as Call.fold; nil: they stay whole.
	fold   func(text string, width, hang int) string
	cut    bool // the last column is a noteColumn: it ends where the terminal does
	widths []int
	begins []bool // which columns begin a line; nil: rows are not broken
	line   []byte // the row that is written
}

// noteColumn is the heading of a last column that has text of any length.
const noteColumn = "NOTE"

// table is an empty one as the session's terminal can show it.
func (c *Call) table() table { return table{width: c.width(), fold: c.fold} }

// fit makes the columns wide enough for a row.
func (t *table) fit(row []string) {
	for i, cell := range row {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		if len(cell) > t.widths[i] { // in bytes, which are no fewer than cells
			t.widths[i] = max(t.widths[i], cellsOf(clean(cell)))
		}
	}
}

// broken decides, when all rows fit their columns, where they are broken to fit the
// width: the columns that a line has no room for begin another, behind two blanks.
func (t *table) broken() {
	const gap, least = 2, 20
	t.begins = nil
	used := -gap
	for i, width := range t.widths {
		if last := i == len(t.widths)-1; last && t.cut && t.width > 0 {
			room := t.width - used - gap
			if room < min(width, least) { // it begins a line
				room = t.width - gap
			}
			width = max(1, min(width, room))
			t.widths[i] = width
		}
		if used += gap + width; t.width > 0 && used > t.width && i > 0 {
			if t.begins == nil {
				t.begins = make([]bool, len(t.widths))
			}
			t.begins[i], used = true, gap+width
		}
	}
}

// head writes the heading, if there is one, before all rows.
func (t *table) head(out *bufio.Writer, bold bool, heading []string) {
	t.cut = len(heading) > 0 && heading[len(heading)-1] == noteColumn
	t.broken()
	switch {
	case heading == nil:
	case bold:
		t.line = t.append(append(t.line[:0], "\x1b[1m"...), heading)
		t.line = append(t.line, "\x1b[0m\n"...)
		out.Write(t.line)
	default:
		t.write(out, heading)
	}
}

// write writes a row. One that did not fit pushes its last cells to the right.
func (t *table) write(out *bufio.Writer, row []string) {
	t.line = append(t.append(t.line[:0], row), '\n')
	out.Write(t.line)
}

// append appends the cells of a row.
func (t *table) append(line []byte, row []string) []byte {
	const hang = 2
	gap, begins := 0, false
	for i, cell := range row {
		if t.begins != nil && t.begins[i] {
			gap, begins = hang, true
		}
		width := len(cell)
		if cell != "" {
			if begins {
				line, begins = append(line, '\n'), false
			}
			for range gap {
				line = append(line, ' ')
			}
			if !plain(cell) {
				cell = clean(cell)
				width = cellsOf(cell)
			}
			if t.cut && t.width > 0 && i == len(t.widths)-1 && width > t.widths[i] {
				cell = displaywidth.TruncateString(cell, t.widths[i], "...")
			}
			if t.fold != nil && t.begins != nil && t.begins[i] && hang+cellsOf(cell) > t.width {
				cell = strings.TrimLeft(t.fold(strings.Repeat(" ", hang)+cell, t.width, hang), " ")
			}
			line = append(line, cell...)
			gap = 0
		}
		gap += max(0, t.widths[i]-width) + 2
	}
	return line
}
