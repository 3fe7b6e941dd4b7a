package sim

import (
	"errors"
	"fmt"
	"strings"
)

// step is one command of a command line.
type step struct {
	after string // the operator before it: "&&", "||", or another for "in any case"
	words []string
	into  string // the file that its output was redirected to, or ""
}

// runs reports whether the step runs after one that ended with the status.
func (s step) runs(status int) bool {
	switch s.after {
	case "&&":
		return status == 0
	case "||":
		return status != 0
	}
	return true
}

// operators are what ends a word besides white space; one comes before those
// that it begins with. The shell knows some of them only to refuse them.
var operators = [...]string{"&&", "||", ";", "\n", ">>", ">", "<", "|", "&", "(", ")"}

// end is the operator after the last word.
const end = "end of line"

// parse splits a command line into its steps, with the quoting rules and the
// messages of a shell.
func parse(line string) ([]step, error) {
	var steps []step
	var now step
	for {
		word, op, rest, err := next(line)
		if err != nil {
			return nil, err
		}
		line = rest
		switch op {
		case "":
			now.words = append(now.words, word)
		case ">", ">>":
			if now.into, op, line, err = next(line); err != nil {
				return nil, err
			}
			if op != "" {
				return nil, unexpected(op)
			}
		case "&&", "||", ";", "\n", end:
			switch {
			case len(now.words) > 0 || now.into != "":
				steps = append(steps, now)
				now = step{after: op}
			case op == end && now.after != "&&" && now.after != "||", op == "\n":
			default:
				return nil, unexpected(op)
			}
			if op == end {
				return steps, nil
			}
		default:
			return nil, unexpected(op)
		}
	}
}

func unexpected(op string) error {
	if op == end {
		return errors.New("unexpected " + end)
	}
	return fmt.Errorf("unexpected %q", op)
}

// next returns what s begins with, a word or an operator, and the rest of s.
func next(s string) (word, op, rest string, err error) {
	s = strings.TrimLeft(s, " \t\r")
	if strings.HasPrefix(s, "#") {
		comment, _, _ := strings.Cut(s, "\n")
		s = s[len(comment):]
	}
	if s == "" {
		return "", end, "", nil
	}
	if op := operator(s); op != "" {
		return "", op, s[len(op):], nil
	}
	var w strings.Builder
	for s != "" && strings.IndexByte(" \t\r", s[0]) < 0 && operator(s) == "" {
		n := 1 // bytes that are used up
		switch s[0] {
		case '\'', '"':
			if n, err = quoted(&w, s); err != nil {
				return "", "", "", err
			}
		case '\\':
			n = min(2, len(s))
			w.WriteString(s[1:n])
		default:
			w.WriteByte(s[0])
		}
		s = s[n:]
	}
	return w.String(), "", s, nil
}

// quoted appends the quoted string that s begins with to w and returns its
// length with the quotes.
func quoted(w *strings.Builder, s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1, nil
		case s[0] == '"' && s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`", s[i+1]) >= 0:
			i++
		}
		w.WriteByte(s[i])
	}
	return 0, errors.New("unterminated quoted string")
}

// operator returns the operator that s begins with, or "".
func operator(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}
