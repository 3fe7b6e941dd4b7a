package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// columns writes rows under an optional heading, each column as wide as its
// widest cell. Control characters in cells are made visible.
func columns(w io.Writer, bold bool, heading []string, rows [][]string) {
	if heading != nil {
		rows = append([][]string{heading}, rows...)
	}
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := bufio.NewWriterSize(w, 32<<10)
	defer out.Flush()
	for n, row := range rows {
		marked := bold && heading != nil && n == 0
		if marked {
			out.WriteString("\x1b[1m")
		}
		gap := 0
		for i, cell := range row {
			if cell != "" {
				for range gap {
					out.WriteByte(' ')
				}
				out.WriteString(clean(cell))
				gap = 0
			}
			gap += widths[i] - utf8.RuneCountInString(cell) + 2
		}
		if marked {
			out.WriteString("\x1b[0m")
		}
		out.WriteByte('\n')
	}
}

// clean replaces what could steer a terminal: control characters and invalid
// UTF-8.
func clean(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return strings.Map(func(r rune) rune {
				if steers(r) {
					return '\uFFFD'
				}
				return r
			}, s)
		}
	}
	return s
}

// steers reports whether a character does something to a terminal, or to the
// order of the text around it, instead of being shown.
func steers(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// print writes v as one JSON document.
func (c *Call) print(v any) error {
	enc := json.NewEncoder(c.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// rows writes rows to the session's output, with a bold heading on a terminal.
func (c *Call) rows(heading []string, rows [][]string) {
	columns(c.Out, c.fancy(), heading, rows)
}

// note tells the user something that is not a result, and so goes to Err.
func (c *Call) note(format string, args ...any) {
	fmt.Fprintf(c.Err, "%s\n", clean(fmt.Sprintf(format, args...)))
}
