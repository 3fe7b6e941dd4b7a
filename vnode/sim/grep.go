package sim

import (
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// regexpLimit is how many bytes a pattern of grep may have.
const regexpLimit = 1 << 10

func (sh *shell) grep(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("grep", "ivncqEFh", args)
	if !ok {
		return statusSyntax
	}
	if len(names) == 0 {
		sh.complain("grep: usage: grep [-ivncqEFh] PATTERN [FILE...]")
		return statusSyntax
	}
	has := func(letter string) bool { return strings.Contains(letters, letter) }
	pattern, names := names[0], names[1:]
	if len(pattern) > regexpLimit {
		sh.complain("grep: the pattern is too long")
		return statusSyntax
	}
	switch {
	case has("F"):
		pattern = regexp.QuoteMeta(pattern)
	case !has("E"):
		pattern = extended(pattern)
	}
	if has("i") {
		pattern = "(?i)" + pattern
	}
	match, err := regexp.Compile(pattern)
	if err != nil {
		sh.complain("grep: bad pattern: %v", err)
		return statusSyntax
	}
	found := 0
	status := sh.inputs(ctx, "grep", names, func(name string, r io.Reader) error {
		number, count := 0, 0
		prefix := ""
		if len(names) > 1 && !has("h") {
			prefix = printable(name) + ":"
		}
		err := sh.lines(ctx, r, func(line []byte) bool {
			number++
			text := strings.TrimSuffix(string(line), "\n")
			if match.MatchString(text) == has("v") {
				return true
			}
			count++
			if has("q") {
				return false
			}
			if !has("c") {
				at := ""
				if has("n") {
					at = strconv.Itoa(number) + ":"
				}
				sh.print(prefix + at + text + "\n")
			}
			return true
		})
		if found += count; has("c") && !has("q") {
			sh.print(prefix + strconv.Itoa(count) + "\n")
		}
		return err
	})
	if status != 0 {
		return statusSyntax
	}
	return oneIf(found == 0)
}

// extended makes an extended regular expression of a basic one: there the signs
// for groups and repetitions have a backslash, not those that stand for themselves.
func extended(basic string) string {
	var b strings.Builder
	for i := 0; i < len(basic); i++ {
		escaped := basic[i] == '\\' && i+1 < len(basic)
		if escaped {
			i++
		}
		switch _, size := utf8.DecodeRuneInString(basic[i:]); {
		case strings.IndexByte("+?(){}|", basic[i]) >= 0:
			if !escaped {
				b.WriteByte('\\')
			}
			b.WriteByte(basic[i])
		default:
			if escaped {
				b.WriteByte('\\')
			}
			b.WriteString(basic[i : i+size])
			i += size - 1
		}
	}
	return b.String()
}
