package commands

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"walt/fault"
	"walt/images"
)

// Call is one command line that is running.
type Call struct {
	*App
	*Session
	cmd   Command
	line  string // as it was typed
	args  []string
	flags *pflag.FlagSet
	first []images.Image // that the user was given since this line is the first, see seed
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
		return c.withUsage(c.flagFault(err))
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
		return c.withUsage(fault.Usagef("%s: %s is missing", c.cmd.Path, c.cmd.Args[len(c.args)].Name))
	case len(c.args) > most:
		return c.withUsage(fault.Usagef("%s: too many arguments, from %q on", c.cmd.Path, c.args[most]))
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

// withUsage adds the usage line to a usage fault.
func (c *Call) withUsage(f *fault.Error) *fault.Error {
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
		return 0, c.withUsage(fault.Usagef("%s: %q is not a positive whole number", what, s))
	}
	return n, nil
}
