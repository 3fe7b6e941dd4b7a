package commands

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"walt/auth"
	"walt/await"
	"walt/fault"
)

// MaxLine is how long, in bytes, a command line may be.
const MaxLine = 64 << 10

// Run runs one command line for the session and returns its exit status; what
// went wrong is printed to the session's Err.
func (a *App) Run(ctx context.Context, s *Session, line string) int {
	words, err := split(line)
	if err == nil && len(words) > 0 {
		if err = a.admit(ctx, s); err == nil {
			err = a.dispatch(ctx, s, line, words)
		}
	}
	return a.report(ctx, s, line, err)
}

// admit returns a fault, and ends what else the login does, when since then the
// user or the key of the session was removed, or the key expired. Whether the user
// is an administrator may have changed as well.
func (a *App) admit(ctx context.Context, s *Session) (err error) {
	var user auth.User
	switch {
	case !s.Certified:
		user, err = a.Users.CheckKey(ctx, s.User, s.Key)
	case !s.Expires.IsZero() && !a.Now().Before(s.Expires):
		err = fault.Failedf("the certificate that you logged in with expired at %s", s.Expires.UTC().Format(time.RFC3339)).WithHint("get a new one")
	default:
		user, err = a.Users.Check(ctx, s.User)
	}
	s.Admin, s.Created = user.Admin, user.Created
	if f := fault.As(err); f != nil && s.End != nil {
		s.End(f.Msg)
	}
	return err
}

// split checks a command line and splits it into words, as a POSIX shell would.
func split(line string) ([]string, error) {
	if len(line) > MaxLine {
		return nil, fault.Usagef("the command line is longer than %d KiB", MaxLine>>10).WithHint("pass long data on standard input")
	}
	if !utf8.ValidString(line) {
		return nil, fault.Usagef("the command line is not valid UTF-8").WithHint("check the encoding of your terminal or file")
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && steers(r) }); i >= 0 {
		return nil, fault.Usagef("the command line has a control character at byte %d", i+1).WithHint("remove it; one command is one line")
	}
	words, err := unquote(line)
	if err != nil {
		return nil, fault.Usagef("the command line has an open quote or a lone backslash at its end").WithHint(`close it, as in: "two words"`)
	}
	if len(words) > 0 && words[0] == "walt" {
		words = words[1:]
		if len(words) == 0 {
			words = []string{"help"}
		}
	}
	return words, nil
}

// unquote splits a line into words. It takes shlex longer to begin than to split one
// in which nothing is quoted.
func unquote(line string) ([]string, error) {
	if strings.ContainsAny(line, "'\"\\#") {
		return shlex.Split(line)
	}
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }), nil
}

// dispatch finds the command with the longest path and runs it.
func (a *App) dispatch(ctx context.Context, s *Session, line string, words []string) error {
	cmd, rest, ok := a.lookup(words)
	if !ok {
		return a.unknownCommand(s, words)
	}
	if cmd.Instead != "" {
		return fault.Usagef("unknown command %q", cmd.Path).WithHint("%s", cmd.Instead)
	}
	c := &Call{App: a, Session: s, cmd: cmd, line: line, pending: newPending()}
	switch err := c.parse(rest); {
	case errors.Is(err, pflag.ErrHelp) && len(cmd.Args) == 0 && rest[0] != "" && rest[0][0] != '-':
		return a.noCommand(cmd.Path+" "+rest[0], []string{cmd.Path}, "help")
	case errors.Is(err, pflag.ErrHelp):
		a.describe(s, cmd)
		return nil
	case err != nil:
		return err
	}
	return cmd.Run(await.Watched(ctx, c.pending.begin), c)
}

func isHelp(word string) bool { return word == "--help" || word == "-h" }

// lookup returns the command with the longest path that words begin with.
func (a *App) lookup(words []string) (cmd Command, rest []string, ok bool) {
	for n := min(len(words), 3); n > 0; n-- {
		if i, known := a.named[strings.Join(words[:n], " ")]; known {
			return a.table[i], words[n:], true
		}
	}
	return Command{}, nil, false
}

// secretPattern matches settings that hold a secret, as in snmp.community=...,
// and the rest of the line; also those whose key is misspelt a little.
var secretPattern = regexp.MustCompile(`(?i)([\w.-]*(comm?un|pass)[\w.-]*=).*`)

// Conceal returns a command line without the secrets that it may hold, and what
// follows them.
func Conceal(line string) string { return secretPattern.ReplaceAllString(line, "$1(not shown)") }

// span is where a word stands in a line, in bytes.
type span struct{ from, to int }

// wordSpans returns where each word of a line stands, by the rules by which split
// finds them.
func wordSpans(line string) (words []span) {
	const (
		between = iota
		inWord
		inSingle
		inDouble
	)
	state, escaped := between, false
	for i := range len(line) {
		b := line[i]
		if state == between && b != ' ' && b != '\t' {
			if b == '#' { // the rest is a comment
				return words
			}
			words, state = append(words, span{i, len(line)}), inWord
		}
		switch {
		case escaped:
			escaped = false
		case state == inSingle:
			if b == '\'' {
				state = inWord
			}
		case b == '\\':
			escaped = true
		case b == '"' && state == inDouble:
			state = inWord
		case state == inDouble:
		case b == '"':
			state = inDouble
		case b == '\'':
			state = inSingle
		case state == inWord && (b == ' ' || b == '\t'):
			words[len(words)-1].to, state = i, between
		}
	}
	return words
}

// rest returns the line as it was typed from the i-th argument on, without a
// comment, for commands whose last argument is text that somebody else reads. If it
// is one quoted word, that is its content.
func (c *Call) rest(i int) string {
	words := wordSpans(c.line)
	first, last := words[len(words)-(len(c.args)-i)], words[len(words)-1]
	text := c.line[first.from:last.to]
	if first == last && isQuoted(text) {
		return c.args[i]
	}
	return text
}

// isQuoted reports whether a word is one pair of quotes and what is between.
func isQuoted(word string) bool {
	if word[0] != '"' && word[0] != '\'' {
		return false
	}
	for i := 1; i < len(word); i++ {
		switch {
		case word[i] == '\\' && word[0] == '"':
			i++
		case word[i] == word[0]:
			return i == len(word)-1
		}
	}
	return false
}
