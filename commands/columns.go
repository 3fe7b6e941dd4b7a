package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"walt/fault"
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
				if r < ' ' || r >= 0x7f && r < 0xa0 {
					return '\uFFFD'
				}
				return r
			}, s)
		}
	}
	return s
}

// print writes v as one JSON document.
func (c *Call) print(v any) error {
	enc := json.NewEncoder(c.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// rows writes rows to the session's output, with a bold heading on a terminal.
func (c *Call) rows(heading []string, rows [][]string) {
	columns(c.Out, c.Terminal != nil, heading, rows)
}

// note tells the user something that is not a result.
func (c *Call) note(format string, args ...any) {
	fmt.Fprintf(c.Err, "%s\n", clean(fmt.Sprintf(format, args...)))
}

// ago is a past instant for people, as in "5 min ago".
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

// duration parses a positive length of time, as in 90s, 5m, 2h or 3d.
func duration(what, s string) (time.Duration, error) {
	text, unit := s, time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, unit = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > math.MaxInt64/unit {
		return 0, fault.Usagef("%s: %q is not a length of time", what, s).WithHint("it looks like 90s, 5m, 2h or 3d")
	}
	return d * unit, nil
}
