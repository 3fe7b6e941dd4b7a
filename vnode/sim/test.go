package sim

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// test is the program test, also called [.
func (sh *shell) test(name string, args []string) int {
	if name == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			sh.complain("sh: [: missing ]")
			return statusSyntax
		}
		args = args[:len(args)-1]
	}
	if len(args) == 0 {
		return 1
	}
	e := &expression{sh, args}
	yes, err := e.or(0)
	if err == nil && len(e.rest) > 0 {
		err = fmt.Errorf("%s: unexpected operator", e.rest[0])
	}
	if err != nil {
		sh.complain("sh: %s: %v", name, err)
		return statusSyntax
	}
	return oneIf(!yes)
}

// expression is what is left of one of test.
type expression struct {
	*shell
	rest []string
}

func (e *expression) next(words ...string) bool {
	for _, w := range words {
		if len(e.rest) > 1 && e.rest[0] == w {
			e.rest = e.rest[1:]
			return true
		}
	}
	return false
}

func (e *expression) or(depth int) (bool, error) {
	yes, err := e.and(depth)
	for err == nil && e.next("-o") {
		var also bool
		also, err = e.and(depth)
		yes = yes || also
	}
	return yes, err
}

func (e *expression) and(depth int) (bool, error) {
	yes, err := e.not(depth)
	for err == nil && e.next("-a") {
		var also bool
		also, err = e.not(depth)
		yes = yes && also
	}
	return yes, err
}

func (e *expression) not(depth int) (yes bool, err error) {
	if depth > depthLimit || len(e.rest) == 0 {
		return false, fmt.Errorf("argument expected")
	}
	if len(e.rest) >= 3 {
		if compare := comparison(e.rest[1]); compare != nil {
			yes, err = compare(e.rest[0], e.rest[2])
			e.rest = e.rest[3:]
			return yes, err
		}
	}
	switch {
	case e.next("!"):
		yes, err = e.not(depth + 1)
		return !yes, err
	case e.next("("):
		yes, err = e.or(depth + 1)
		if err == nil && (len(e.rest) == 0 || e.rest[0] != ")") {
			err = fmt.Errorf("missing )")
		}
		if err == nil {
			e.rest = e.rest[1:]
		}
		return yes, err
	}
	word := e.rest[0]
	if len(e.rest) > 1 && len(word) == 2 && word[0] == '-' && strings.Contains("bcdefhLnprsSwxz", word[1:]) {
		yes = e.is(word[1], e.rest[1])
		e.rest = e.rest[2:]
		return yes, nil
	}
	e.rest = e.rest[1:]
	return word != "", nil
}

// is answers what is asked about one word.
func (e *expression) is(what byte, word string) bool {
	switch what {
	case 'n':
		return word != ""
	case 'z':
		return word == ""
	}
	s, err := e.node.disk.stat(e.abs(word), what != 'h' && what != 'L')
	if err != nil || word == "" {
		return false
	}
	switch what {
	case 'b':
		return s.mode&fs.ModeDevice != 0 && s.mode&fs.ModeCharDevice == 0
	case 'c':
		return s.mode&fs.ModeCharDevice != 0
	case 'd':
		return s.IsDir()
	case 'f':
		return s.mode.IsRegular()
	case 'h', 'L':
		return s.mode&fs.ModeSymlink != 0
	case 'p':
		return s.mode&fs.ModeNamedPipe != 0
	case 'S':
		return s.mode&fs.ModeSocket != 0
	case 's':
		return s.size > 0
	case 'x':
		return s.IsDir() || s.mode&0o111 != 0
	}
	return true // root may read and write all
}

func comparison(op string) func(a, b string) (bool, error) {
	switch op {
	case "=", "==":
		return func(a, b string) (bool, error) { return a == b, nil }
	case "!=":
		return func(a, b string) (bool, error) { return a != b, nil }
	}
	holds, ok := map[string]func(int64, int64) bool{
		"-eq": func(a, b int64) bool { return a == b },
		"-ne": func(a, b int64) bool { return a != b },
		"-lt": func(a, b int64) bool { return a < b },
		"-le": func(a, b int64) bool { return a <= b },
		"-gt": func(a, b int64) bool { return a > b },
		"-ge": func(a, b int64) bool { return a >= b },
	}[op]
	if !ok {
		return nil
	}
	return func(a, b string) (bool, error) {
		x, err := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
		if err != nil {
			return false, fmt.Errorf("%s: bad number", a)
		}
		y, err := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
		if err != nil {
			return false, fmt.Errorf("%s: bad number", b)
		}
		return holds(x, y), nil
	}
}
