// Package commands is what users can type: one table of commands, and what
// follows from it (parsing, checks, help, completion). Commands ask, call and
// print; they hold no rule of the lab. Its one surprising rule: the table is
// the only description of a command, so help, usage and completion cannot
// disagree with what is accepted.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/history"
	"walt/images"
	"walt/journal"
	"walt/nodelogs"
	"walt/nodes"
)

// Command is one thing that users can type.
type Command struct {
	Path string // its words, as in "node acquire"
	// Also are other words for the same, which people know from elsewhere: they are
	// accepted, and nothing but --help shows them.
	Also  []string
	Short string // one line, lower case, no period
	Long  string // paragraphs for --help
	Topic string // that explains more
	Args  []Arg
	Flags []Flag
	// Passes says that its last argument is text for somebody else, the rest of the
	// line: options are only taken before the first argument.
	Passes bool
	// Instead makes it a word that people try and that is no command: it is the hint
	// that they get. Such a word has nothing but its Path, and is shown nowhere.
	Instead string
	Run     func(context.Context, *Call) error
}

// Arg is a positional argument; only last ones may be optional or repeated.
type Arg struct {
	Name     string // as in the usage line, in capitals
	Optional bool
	Many     bool
	Complete completer
}

// Flag is an option.
type Flag struct {
	Name     string
	Short    string // one letter, or ""
	Value    string // what it takes, in capitals; "" for a switch
	Usage    string
	Complete completer
}

// completer returns the words that could stand where word was begun.
type completer func(ctx context.Context, c *Call, word string) []string

// Services is what the commands work with.
type Services struct {
	Lab      *nodes.Lab
	Images   *images.Catalog
	Library  *images.Library
	Users    *auth.Users
	Journal  *journal.Journal
	NodeLogs *nodelogs.Store
	History  *history.History
	// Online reports whether a user has a session open now.
	Online func(auth.Name) bool
	// Cut ends the sessions of a user that logged in with a key, or with any key
	// when it is "".
	Cut func(user auth.Name, key string)
	// Copy copies files on nodes that the user agreed to use, and out of images, and says in
	// words what; the paths are those that scp takes, with image@ before images.
	Copy func(ctx context.Context, user auth.Name, given consent.Agreement, from, to string, all bool) (what string, err error)
	// Backup writes a consistent copy of all data, and says in words what that is.
	Backup   func(context.Context, io.Writer) (what string, err error)
	HostKeys []ssh.PublicKey // that this server shows
	HostCA   ssh.PublicKey   // that signs the host keys of nodes
	Version  string          // of the server program
	Log      *slog.Logger
	Now      func() time.Time
}

// App is all commands with the services that they call.
type App struct {
	Services
	table []Command
	named map[string]int // where in the table the command of a path is
}

// New returns the commands.
func New(s Services) *App {
	a := &App{Services: s}
	for _, noun := range [][]Command{nodeCommands(), imageCommands(), deviceCommands(), powerCommands(), userCommands(), logCommands(), advancedCommands(), sshCommands(), helpCommands(), shellCommands()} {
		a.table = append(a.table, noun...)
	}
	a.named = map[string]int{}
	for i, cmd := range slices.Backward(a.table) {
		for _, path := range cmd.Also {
			a.named[path] = i
		}
		a.named[cmd.Path] = i
	}
	return a
}

// usage is the usage line of the command.
func (cmd Command) usage() string {
	words := []string{cmd.Path}
	for _, f := range cmd.Flags {
		words = append(words, "["+f.usage()+"]")
	}
	for _, a := range cmd.Args {
		w := a.Name
		if a.Many {
			w += "..."
		}
		if a.Optional {
			w = "[" + w + "]"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func (f Flag) usage() string {
	if f.Value == "" {
		return "--" + f.Name
	}
	return "--" + f.Name + " " + f.Value
}

// describe writes what --help shows.
func (a *App) describe(s *Session, cmd Command) {
	head := fmt.Sprintf("%s: %s\n\nUsage: %s\n", cmd.Path, cmd.Short, cmd.usage())
	if len(cmd.Also) > 0 {
		head += fmt.Sprintf("Also: %s\n", strings.Join(cmd.Also, ", "))
	}
	w := &strings.Builder{}
	if cmd.Long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(cmd.Long))
	}
	fmt.Fprintln(w, "\nOptions:")
	var rows [][]string
	for _, f := range slices.Concat(cmd.Flags, []Flag{helpFlag}) {
		name := "    " + f.usage()
		if f.Short != "" {
			name = "-" + f.Short + ", " + f.usage()
		}
		rows = append(rows, []string{"  " + name, f.Usage})
	}
	columns(w, table{}, false, nil, rows)
	if cmd.Topic != "" {
		fmt.Fprintf(w, "\nMore: help show %s\n", cmd.Topic)
	}
	io.WriteString(s.Out, a.fit(s, head)+a.fitHelp(s, w.String()))
}

// The options that several commands share.
var (
	helpFlag    = Flag{Name: "help", Short: "h", Usage: "show this help"}
	jsonFlag    = Flag{Name: "json", Usage: "print one JSON document"}
	namesFlag   = Flag{Name: "names-only", Usage: "print names alone, one a line"}
	yesFlag     = Flag{Name: "yes", Short: "y", Usage: "answer yes in advance to whatever is asked"}
	timeoutFlag = Flag{Name: "timeout", Value: "D", Usage: "give up after this long, as in 90s or 5m"}
	hardFlag    = Flag{Name: "hard", Usage: "cut the power at once instead of asking the node first"}
	noInputFlag = Flag{Name: "no-input", Usage: "never ask: what would need an answer is refused"}
)

// Call is one command line that is running.
type Call struct {
	*App
	*Session
	cmd     Command
	line    string // as it was typed
	args    []string
	flags   *pflag.FlagSet // nil when there are no options
	first   []images.Image // that the user was given since this line is the first, see seed
	fleet   fleetingLine
	pending *pending
}

// parse checks options and the number of arguments. It returns pflag.ErrHelp
// when help is asked for.
func (c *Call) parse(words []string) error {
	c.args = words
	if slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") }) {
		if err := c.parseFlags(words); err != nil {
			return err
		}
	}
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
		return c.withUsage(c.tooMany(words, most))
	}
	return c.noneEmpty()
}

// noneEmpty refuses arguments without a character, as of a script whose variable is
// empty: they would pass for ones that were left out. Text for others may be that.
func (c *Call) noneEmpty() error {
	for i, word := range c.args {
		of := min(i, len(c.cmd.Args)-1)
		if word == "" && !(c.cmd.Passes && c.cmd.Args[of].Many) {
			return c.withUsage(fault.Usagef("%s: %s is empty", c.cmd.Path, c.cmd.Args[of].Name))
		}
	}
	return nil
}

// parseFlags checks options, and leaves the arguments.
func (c *Call) parseFlags(words []string) error {
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
	err := c.flags.Parse(words)
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		return c.withUsage(c.flagFault(err))
	}
	c.args = c.flags.Args()
	return err
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
		f := fault.Usagef("%s: unknown option -%s", c.cmd.Path, name)
		if typed := unknown.GetSpecifiedShortnames(); slices.ContainsFunc(c.cmd.Flags, func(f Flag) bool { return f.Name == typed }) {
			f.Hint = "did you mean --" + typed + "?"
		}
		return f
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
func (c *Call) on(name string) bool { return c.option(name) == "true" }

// option returns the value of an option, "" when it was not given.
func (c *Call) option(name string) string {
	if !c.given(name) {
		return ""
	}
	return c.flags.Lookup(name).Value.String()
}

// given reports whether an option was given.
func (c *Call) given(name string) bool { return c.flags != nil && c.flags.Changed(name) }

// number returns a positive whole number.
func (c *Call) number(what, s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, c.withUsage(fault.Usagef("%s: %q is not a positive whole number", what, s))
	}
	return n, nil
}
