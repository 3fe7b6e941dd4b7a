package commands

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/shlex"
	"github.com/spf13/pflag"

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
// user or the key of the session was removed, or the key expired.
func (a *App) admit(ctx context.Context, s *Session) (err error) {
	switch {
	case !s.Certified:
		err = a.Users.CheckKey(ctx, s.User, s.Key)
	case !s.Expires.IsZero() && !a.Now().Before(s.Expires):
		err = fault.Failedf("the certificate that you logged in with expired at %s", s.Expires.UTC().Format(time.RFC3339)).WithHint("get a new one")
	default:
		err = a.Users.Check(ctx, s.User)
	}
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
	words, err := shlex.Split(line)
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

// dispatch finds the command with the longest path and runs it.
func (a *App) dispatch(ctx context.Context, s *Session, line string, words []string) error {
	cmd, rest, ok := a.lookup(words)
	if !ok {
		return a.unknownCommand(s, words)
	}
	c := &Call{App: a, Session: s, cmd: cmd, line: line}
	switch err := c.parse(rest); {
	case errors.Is(err, pflag.ErrHelp) && len(cmd.Args) == 0 && rest[0] != "" && rest[0][0] != '-':
		return a.noCommand(cmd.Path+" "+rest[0], []string{cmd.Path}, "help")
	case errors.Is(err, pflag.ErrHelp):
		cmd.describe(s.Out)
		return nil
	case err != nil:
		return err
	}
	return cmd.Run(ctx, c)
}

func isHelp(word string) bool { return word == "--help" || word == "-h" }

// lookup returns the command with the longest path that words begin with.
func (a *App) lookup(words []string) (cmd Command, rest []string, ok bool) {
	for n := min(len(words), 3); n > 0; n-- {
		path := strings.Join(words[:n], " ")
		for _, cmd := range a.table {
			if cmd.Path == path {
				return cmd, words[n:], true
			}
		}
	}
	return Command{}, nil, false
}
