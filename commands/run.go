package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"walt/fault"
)

// Exit statuses of a command line.
const (
	StatusDone        = 0
	StatusFailed      = 1
	StatusUsage       = 2
	StatusInUse       = 3
	StatusInternal    = 70
	StatusInterrupted = 130
)

// MaxLine is how long, in bytes, a command line may be.
const MaxLine = 64 << 10

// Call is one command line that is running.
type Call struct {
	*App
	*Session
	cmd   Command
	args  []string
	flags *pflag.FlagSet
}

// Run runs one command line for the session and returns its exit status; what
// went wrong is printed to the session's Err.
func (a *App) Run(ctx context.Context, s *Session, line string) int {
	words, err := split(line)
	if err == nil && len(words) > 0 {
		if err = a.admit(ctx, s); err == nil {
			err = a.dispatch(ctx, s, words)
		}
	}
	return a.report(ctx, s, line, err)
}

// admit returns a fault when who logged in could not do so any more.
func (a *App) admit(ctx context.Context, s *Session) error {
	if s.Certified {
		return a.Users.Check(ctx, s.User)
	}
	return a.Users.CheckKey(ctx, s.User, s.Key)
}

// split checks a command line and splits it into words, as a POSIX shell would.
func split(line string) ([]string, error) {
	if len(line) > MaxLine {
		return nil, fault.Usagef("the command line is longer than %d KiB", MaxLine>>10).WithHint("pass long data on standard input")
	}
	if !utf8.ValidString(line) {
		return nil, fault.Usagef("the command line is not valid UTF-8").WithHint("check the encoding of your terminal or file")
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 }); i >= 0 {
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
func (a *App) dispatch(ctx context.Context, s *Session, words []string) error {
	cmd, rest, ok := a.find(words)
	if !ok {
		return a.astray(s, words)
	}
	c := &Call{App: a, Session: s, cmd: cmd}
	switch err := c.parse(rest); {
	case errors.Is(err, pflag.ErrHelp):
		cmd.describe(s.Out)
		return nil
	case err != nil:
		return err
	}
	return cmd.Run(ctx, c)
}

func isHelp(word string) bool { return word == "--help" || word == "-h" }

// find returns the command with the longest path that words begin with.
func (a *App) find(words []string) (cmd Command, rest []string, ok bool) {
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

// parse checks options and the number of arguments. It returns pflag.ErrHelp
// when help is asked for.
func (c *Call) parse(words []string) error {
	c.flags = pflag.NewFlagSet(c.cmd.Path, pflag.ContinueOnError)
	c.flags.SetOutput(io.Discard)
	c.flags.SetInterspersed(!c.cmd.Passes)
	for _, f := range c.cmd.Flags {
		if f.Value == "" {
			c.flags.BoolP(f.Name, f.Short, false, "")
		} else {
			c.flags.StringP(f.Name, f.Short, "", "")
		}
	}
	switch err := c.flags.Parse(words); {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case err != nil:
		return c.misused(c.flagFault(err))
	}
	c.args = c.flags.Args()
	least, most := 0, len(c.cmd.Args)
	for _, a := range c.cmd.Args {
		if !a.Optional {
			least++
		}
		if a.Many {
			most = len(c.args)
		}
	}
	switch {
	case len(c.args) < least:
		return c.misused(fault.Usagef("%s: %s is missing", c.cmd.Path, c.cmd.Args[len(c.args)].Name))
	case len(c.args) > most:
		return c.misused(fault.Usagef("%s: too many arguments, from %q on", c.cmd.Path, c.args[most]))
	}
	return nil
}

// flagFault words what pflag found.
func (c *Call) flagFault(err error) *fault.Error {
	if lacking, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fault.Usagef("%s: --%s needs a value", c.cmd.Path, lacking.GetFlag().Name)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok { // any text is valid for the others
		return fault.Usagef("%s: --%s takes no value", c.cmd.Path, invalid.GetFlag().Name)
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return fault.Usagef("%s: %v", c.cmd.Path, err)
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return fault.Usagef("%s: unknown option -%s", c.cmd.Path, name)
	}
	var known []string
	for _, f := range c.cmd.Flags {
		known = append(known, f.Name)
	}
	f := fault.Usagef("%s: unknown option --%s", c.cmd.Path, name)
	if near := fault.Nearest(name, known); len(near) > 0 {
		f.Hint = "did you mean --" + strings.Join(near, " or --") + "?"
	}
	return f
}

// misused adds the usage line to a usage fault.
func (c *Call) misused(f *fault.Error) *fault.Error {
	hint := "usage: " + c.cmd.usage()
	if f.Hint != "" {
		hint = f.Hint + "\n" + hint
	}
	return f.WithHint("%s", hint)
}

// arg returns the i-th argument, "" when it was left out.
func (c *Call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// on reports whether a switch was given.
func (c *Call) on(name string) bool {
	f := c.flags.Lookup(name)
	return f != nil && f.Value.String() == "true"
}

// option returns the value of an option, "" when it was not given.
func (c *Call) option(name string) string { return c.flags.Lookup(name).Value.String() }

// given reports whether an option was given.
func (c *Call) given(name string) bool { return c.flags.Changed(name) }

// number returns a positive whole number.
func (c *Call) number(what, s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, c.misused(fault.Usagef("%s: %q is not a positive whole number", what, s))
	}
	return n, nil
}

// statuses is the one place where an error becomes an exit status.
var statuses = map[fault.Kind]int{
	fault.Failed:      StatusFailed,
	fault.Usage:       StatusUsage,
	fault.InUse:       StatusInUse,
	fault.Interrupted: StatusInterrupted,
}

// report prints an error for the user and returns the exit status.
func (a *App) report(ctx context.Context, s *Session, line string, err error) int {
	if err == nil {
		return StatusDone
	}
	f := fault.As(err)
	if f == nil && ctx.Err() != nil {
		if s.Terminal != nil { // it shows the ^C already
			return StatusInterrupted
		}
		f = fault.New(fault.Interrupted, "interrupted")
	}
	if f == nil {
		ref := rand.Text()[:8]
		a.Log.Error("command failed", "ref", ref, "user", s.User, "line", Conceal(line), "err", err)
		fmt.Fprintf(s.Err, "walt: something went wrong on the server; an administrator finds the cause in its log under %s\n", ref)
		return StatusInternal
	}
	fmt.Fprintf(s.Err, "walt: %s\n", clean(f.Msg))
	for hint := range strings.Lines(f.Hint) {
		fmt.Fprintf(s.Err, "  %s\n", clean(strings.TrimSuffix(hint, "\n")))
	}
	return statuses[f.Kind]
}
