package commands

import (
	"bufio"
	"bytes"
	"io"
	"unicode/utf8"
)

// columns writes rows under an optional heading, each column as wide as its
// widest cell. Control characters in cells are made visible.
func columns(w io.Writer, bold bool, heading []string, rows [][]string) {
	var t table
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

// table aligns the cells of rows.
type table struct{ widths []int }

// fit makes the columns wide enough for a row.
func (t *table) fit(row []string) {
	for i, cell := range row {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
}

// head writes the heading, if there is one.
func (t *table) head(out *bufio.Writer, bold bool, heading []string) {
	switch {
	case heading == nil:
	case bold:
		out.WriteString("\x1b[1m")
		t.cells(out, heading)
		out.WriteString("\x1b[0m\n")
	default:
		t.write(out, heading)
	}
}

// write writes a row. One that did not fit pushes its last cells to the right.
func (t *table) write(out *bufio.Writer, row []string) {
	t.cells(out, row)
	out.WriteByte('\n')
}

func (t *table) cells(out *bufio.Writer, row []string) {
	gap := 0
	for i, cell := range row {
		if cell != "" {
			for range gap {
				out.WriteByte(' ')
			}
			out.WriteString(clean(cell))
			gap = 0
		}
		gap += max(0, t.widths[i]-utf8.RuneCountInString(cell)) + 2
	}
}
