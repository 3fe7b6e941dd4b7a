package sim

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// widthLimit is how wide printf makes a field.
const widthLimit = 4096

func (sh *shell) echo(_ context.Context, args []string) int {
	end, escapes := "\n", false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		if strings.Contains(args[0], "n") {
			end = ""
		}
		escapes = escapes || strings.Contains(args[0], "e")
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		var stop bool
		if text, stop = unescape(text); stop {
			end = ""
		}
	}
	sh.print(text + end)
	return 0
}

// unescape replaces \n and the like. It stops at \c.
func unescape(s string) (text string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if at := strings.IndexByte(`\abefnrtv"`, s[i]); at >= 0 {
			b.WriteByte("\\\a\b\x1b\f\n\r\t\v\""[at])
			continue
		}
		switch digits := s[i:]; {
		case s[i] == 'c':
			return b.String(), true
		case s[i] >= '0' && s[i] <= '7':
			n := 1
			for n < min(3+oneIf(s[i] == '0'), len(digits)) && digits[n] >= '0' && digits[n] <= '7' {
				n++
			}
			v, _ := strconv.ParseUint(digits[:n], 8, 16) // what is too large loses bits
			b.WriteByte(byte(v))
			i += n - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String(), false
}

// printf uses its format again as long as there are arguments.
func (sh *shell) printf(ctx context.Context, args []string) int {
	if len(args) == 0 {
		sh.complain("printf: usage: printf FORMAT [ARGUMENT...]")
		return statusSyntax
	}
	format, args := args[0], args[1:]
	for first := true; (first || len(args) > 0) && ctx.Err() == nil; first = false {
		before := len(args)
		var err error
		if args, err = sh.formatted(ctx, format, args); err != nil {
			sh.complain("printf: %v", err)
			return 1
		}
		if len(args) == before {
			break
		}
	}
	return 0
}

// formatted prints a format once and returns the arguments that are left.
func (sh *shell) formatted(ctx context.Context, format string, args []string) (left []string, err error) {
	arg := func() (s string) {
		if len(args) > 0 {
			s, args = args[0], args[1:]
		}
		return s
	}
	for format != "" && ctx.Err() == nil {
		text, spec, found := strings.Cut(format, "%")
		text, stop := unescape(text)
		if sh.print(text); stop {
			return nil, nil
		}
		if !found {
			break
		}
		n := strings.IndexFunc(spec, func(r rune) bool { return !strings.ContainsRune("-+ #0123456789.", r) })
		if n < 0 {
			return nil, fmt.Errorf("%%%s: invalid format", spec)
		}
		flags, verb := spec[:n], spec[n]
		format = spec[n+1:]
		for width := range strings.FieldsFuncSeq(flags, func(r rune) bool { return r < '0' || r > '9' }) {
			if v, err := strconv.Atoi(width); err != nil || v > widthLimit {
				return nil, fmt.Errorf("%%%s: too wide", flags)
			}
		}
		switch verb {
		case '%':
			sh.print("%")
		case 's':
			fmt.Fprintf(sh.out, "%"+flags+"s", arg())
		case 'b':
			text, _ := unescape(arg())
			fmt.Fprintf(sh.out, "%"+flags+"s", text)
		case 'c':
			s := arg()
			fmt.Fprintf(sh.out, "%"+flags+"s", s[:min(1, len(s))])
		case 'd', 'i', 'u', 'x', 'X', 'o':
			s := arg()
			v, err := strconv.ParseInt(s, 0, 64)
			if err != nil && s != "" {
				return nil, fmt.Errorf("%s: invalid number", s)
			}
			if verb == 'i' || verb == 'u' {
				verb = 'd'
			}
			fmt.Fprintf(sh.out, "%"+flags+string(verb), v)
		default:
			return nil, fmt.Errorf("%%%c: invalid format", verb)
		}
	}
	return args, nil
}

func (sh *shell) seq(ctx context.Context, args []string) int {
	first, step, last := int64(1), int64(1), int64(0)
	var err error
	to := map[int][]*int64{1: {&last}, 2: {&first, &last}, 3: {&first, &step, &last}}[len(args)]
	if to == nil {
		sh.complain("seq: usage: seq [FIRST [STEP]] LAST")
		return 1
	}
	for i, p := range to {
		if *p, err = strconv.ParseInt(args[i], 10, 32); err != nil {
			sh.complain("seq: invalid number '%s'", args[i])
			return 1
		}
	}
	if step == 0 {
		sh.complain("seq: the step is 0")
		return 1
	}
	for n := first; (step > 0 && n <= last || step < 0 && n >= last) && sh.printLine(ctx, strconv.FormatInt(n, 10)); n += step {
	}
	return 0
}

func (sh *shell) yes(ctx context.Context, args []string) int {
	text := strings.Join(args, " ")
	if len(args) == 0 {
		text = "y"
	}
	for sh.printLine(ctx, text) {
	}
	return 0
}

// printLine prints one of many lines, and reports whether somebody takes them.
func (sh *shell) printLine(ctx context.Context, text string) bool {
	_, _ = sh.out.WriteString(text)
	if err := sh.out.WriteByte('\n'); err != nil { // also the one before
		return false
	}
	sh.count(ctx, len(text)+4)
	return ctx.Err() == nil
}

// part prints a part of a path.
func (sh *shell) part(name string, of func(string) string, args []string) int {
	if len(args) == 0 {
		sh.complain("%s: missing operand", name)
		return 1
	}
	s := of(args[0])
	if name == "basename" && len(args) > 1 && s != args[1] {
		s = strings.TrimSuffix(s, args[1])
	}
	if name == "dirname" {
		s = path.Dir(strings.TrimRight(args[0], "/") + strings.Repeat("/", oneIf(strings.Trim(args[0], "/") == "")))
	}
	sh.print(s + "\n")
	return 0
}
