// Waltd is the server of a lab whose nodes boot OS images over the network and
// whose users come with nothing but ssh. This file reads the command line;
// serve.go makes the parts and connects them; no other package knows them all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"walt/auth"
	"walt/commands"
	"walt/config"
	"walt/demo"
	"walt/fault"
	"walt/power/driver/program"
)

// version is set by the linker.
var version = "development"

const usage = `Usage:
  waltd serve [--config FILE] [--data DIR] [--listen ADDR] [--admin NAME=PUBKEYFILE]...
  waltd demo [--once]      a throw-away lab on loopback, with a short tour; with
                           --machines DIR its nodes are machines, which boot the
                           images DIR/tiny.tar and DIR/debian.tar (make machines)
  waltd backup FILE        a consistent copy of the data of a stopped server;
                           of a running one: ssh walt@SERVER advanced backup > FILE
  waltd restore FILE       into an empty data directory
  waltd salvage DIR FILE   what can still be read of the damaged data in DIR, as
                           a backup; says what is lost
  waltd stop-machines      cut the power of all machines of a stopped server, which
                           go on without it; one that starts starts them again
  waltd import-walt [--apply] FILE
                           devices of a WalT lab, for a stopped server: FILE has
                           what "walt device show" and "walt node show --all"
                           print, or CSV; says what it would do, or does it
  waltd check-config [--power[=OUTLETS]] [FILE]
                           whether a server could start with this file; changes
                           nothing, and takes the options of serve too; asks
                           power drivers for the states of all outlets that feed
                           nodes, or of these, as in --power=rack1:7+rack1:8
  waltd help [TOPIC]       this, or a topic of those below
  waltd version
backup, restore, import-walt and stop-machines take --config and --data too.
`

func main() {
	program.Supervise()
	// Collect garbage when the heap has grown by three tenths since the last time,
	// not when it has doubled: of the memory that a thousand idle logins need, much
	// would be garbage.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
	// Three tenths of the heap of a small lab, some MiB, would be used up by every
	// other command. But what badger holds changes in counts as heap, too, though the
	// system gives it no memory before it is written to: so it is at least 10 MiB.
	os.Exit(run(os.Args[1:]))
}

// run runs one command of the program and returns its exit status.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return commands.StatusDone
	}
	fmt.Fprintf(os.Stderr, "waltd: %v\n", err)
	f := fault.As(err)
	if f == nil {
		return commands.StatusFailed
	}
	for hint := range strings.Lines(f.Hint) {
		hint = strings.ReplaceAll(hint, ": help show ", ": waltd help ") // where no server's command line is
		fmt.Fprintf(os.Stderr, "  %s\n", strings.TrimSuffix(hint, "\n"))
	}
	return commands.StatusOf(f.Kind)
}

// programs are the commands of dispatch.
var programs = []string{"serve", "demo", "backup", "restore", "salvage", "stop-machines", "import-walt", "check-config", "version", "help"}

// dispatch runs the command that the first argument names.
func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"help"}
	}
	rest := args[1:]
	switch args[0] {
	case "serve":
		return serveCommand(ctx, rest)
	case "demo":
		return demoCommand(ctx, rest)
	case "backup":
		return backupCommand(ctx, rest)
	case "restore":
		return restoreCommand(ctx, rest)
	case "salvage":
		return salvageCommand(ctx, rest)
	case "stop-machines":
		return stopMachinesCommand(rest)
	case "import-walt":
		return importCommand(ctx, rest)
	case "check-config":
		return checkCommand(ctx, rest)
	case "version", "--version":
		fmt.Println("waltd", version)
		return nil
	case "help", "--help", "-h":
		return helpCommand(rest)
	}
	f := fault.Usagef("unknown command %q", args[0]).WithHint("see: waltd help")
	if near := fault.Nearest(args[0], programs); len(near) > 0 {
		f.Hint = "did you mean waltd " + near[0] + "?"
	}
	return f
}

// helpCommand is "waltd help [TOPIC]": what users read with "help show", as which topics
// name each other, without a server.
func helpCommand(args []string) error {
	if len(args) > 1 && args[0] == "show" {
		args = args[1:]
	}
	switch {
	case len(args) == 1 && slices.Contains(programs, args[0]):
		fmt.Print(usage)
		return nil
	case len(args) == 0:
		fmt.Print(usage)
		fmt.Println("Topics:")
		for _, name := range commands.Topics() {
			text, _ := commands.Topic(name)
			title, _, _ := strings.Cut(text, "\n")
			fmt.Printf("  %-18s %s\n", name, strings.TrimPrefix(title, "# "))
		}
		return nil
	case len(args) > 1:
		return fault.Usagef("help: one TOPIC, not %q", args).WithHint("see: waltd help\nof the commands that users type tells: ssh walt@SERVER help")
	}
	text, known := commands.Topic(args[0])
	if !known {
		return fault.Unknown("topic", args, commands.Topics(), "see all topics with: waltd help")
	}
	fmt.Print(text)
	return nil
}

// settings are the options that say which server it is about. Flags override the
// configuration file.
type settings struct {
	flags  *flag.FlagSet
	file   string
	data   string
	listen string
	admins []string
}

func newSettings(name string) *settings {
	s := &settings{flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	s.flags.SetOutput(io.Discard)
	s.flags.StringVar(&s.file, "config", "", "")
	s.flags.StringVar(&s.data, "data", "", "")
	return s
}

// configured parses the line of a command that works on the data of a server, and returns
// the configuration that says which, and the arguments, see parse.
func configured(command string, args []string, names ...string) (c config.Config, given []string, err error) {
	s := newSettings(command)
	if given, err = s.parse(args, names...); err == nil {
		c, err = s.load()
	}
	return c, given, err
}

// newServeSettings has the options of "waltd serve".
func newServeSettings(name string) *settings {
	s := newSettings(name)
	s.flags.StringVar(&s.listen, "listen", "", "")
	s.flags.Func("admin", "", func(a string) error { s.admins = append(s.admins, a); return nil })
	return s
}

// parse reads the options and returns the arguments that must follow them, one
// for each of the names; one with brackets may be missing.
func (s *settings) parse(args []string, names ...string) ([]string, error) {
	err := s.flags.Parse(args)
	n := s.flags.NArg()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return nil, err
	case err != nil:
		err = s.flagFault(err)
	case n < len(names) && names[n][0] != '[':
		err = fault.Usagef("%s: %s is missing", s.flags.Name(), names[n]).WithHint("see: waltd help")
	case n > len(names):
		err = fault.Usagef("%s: unexpected argument %q", s.flags.Name(), s.flags.Arg(len(names))).WithHint("options go before arguments; see: waltd help")
	}
	return s.flags.Args(), err
}

// flagFault words what package flag found.
func (s *settings) flagFault(err error) error {
	f := fault.Usagef("%s: %v", s.flags.Name(), err).WithHint("see: waltd help")
	typed, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return f
	}
	var known []string
	s.flags.VisitAll(func(o *flag.Flag) { known = append(known, o.Name) })
	f = fault.Usagef("%s: unknown option --%s", s.flags.Name(), typed).WithHint("see: waltd help")
	if near := fault.Nearest(typed, known); len(near) > 0 {
		f = f.WithHint("did you mean --%s?", strings.Join(near, " or --"))
	}
	return f
}

// load reads the configuration and lets the flags override it.
func (s *settings) load() (config.Config, error) {
	c := config.Default()
	if s.file != "" {
		var err error
		if c, err = config.Load(s.file); err != nil {
			return c, err
		}
	}
	if s.data != "" { // absolute, as in the file: machines run in directories of their own
		var err error
		if c.Data, err = filepath.Abs(s.data); err != nil {
			return c, err
		}
	}
	if s.listen != "" {
		c.Listen = s.listen
	}
	return c, nil
}

// readAdmins reads the key files of --admin, and checks them.
func (s *settings) readAdmins() (map[auth.Name]string, error) {
	admins := map[auth.Name]string{}
	var errs []error
	for _, a := range s.admins {
		user, file, ok := strings.Cut(a, "=")
		if !ok {
			errs = append(errs, fault.Usagef("--admin %q: NAME=PUBKEYFILE is wanted", a).WithHint("see: waltd help"))
			continue
		}
		name, err := auth.ParseName(user)
		if f := fault.As(err); f != nil {
			errs = append(errs, fault.New(f.Kind, "--admin %s: %s", a, f.Msg).WithHint("%s", f.Hint))
			continue
		}
		keys, err := os.ReadFile(file)
		if err != nil {
			err = fault.Failedf("--admin %s: %v", a, err).WithHint("name the file of a public key, as in %s=/home/%s/.ssh/id_ed25519.pub", name, name)
		} else if f := fault.As(auth.CheckLines(string(keys))); f != nil {
			err = fault.New(f.Kind, "--admin %s: %s", a, f.Msg).WithHint("%s", f.Hint)
		}
		errs = append(errs, err)
		admins[name] += string(keys) + "\n"
	}
	return admins, together(errs)
}

// serveCommand is "waltd serve": the server, until SIGINT or SIGTERM.
func serveCommand(ctx context.Context, args []string) error {
	s := newServeSettings("serve")
	if _, err := s.parse(args); err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // also while it starts and ends: that may take a while, and is not to be cut short
	defer signal.Stop(hangup)
	c, err := s.load()
	if err != nil {
		return err
	}
	admins, err := s.readAdmins()
	if err != nil {
		return err
	}
	srv, err := open(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	for name, lines := range admins {
		if err := srv.users.Ensure(ctx, name, lines); err != nil {
			return errors.Join(fmt.Errorf("--admin %s: %w", name, err), srv.close())
		}
	}
	srv.warnUnadministered(ctx)
	srv.warnUnswitchable(ctx)
	srv.reload, srv.hangup = s.load, hangup
	return srv.run(ctx, func() {
		fmt.Printf("waltd: accepting logins on %s, host key %s\n", srv.listener.Addr(), srv.fingerprint())
	})
}

// demoCommand is "waltd demo": a throw-away lab on loopback.
func demoCommand(ctx context.Context, args []string) error {
	s := newSettings("demo")
	once := s.flags.Bool("once", false, "")
	machines := s.flags.String("machines", "", "")
	if _, err := s.parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal is gone, and so should the lab
	defer stop()
	return demo.Run(ctx, demo.Options{Once: *once, Machines: *machines, Out: os.Stdout, Start: startDemo})
}

// startDemo starts a server for the demo; its log goes to a file in the data
// directory.
func startDemo(ctx context.Context, c config.Config, log io.Writer) (demo.Server, error) {
	srv, err := open(ctx, c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return demo.Server{}, err
	}
	done := make(chan error, 1)
	go func() { done <- srv.run(ctx, func() {}) }() // ends with ctx; the demo waits for done
	return demo.Server{
		Address: srv.listener.Addr().String(),
		HostKey: srv.hostKeys[0].PublicKey(),
		HostCA:  srv.hostCA,
		Lab:     srv.lab,
		AddUser: srv.users.Ensure,
		Done:    done,
	}, nil
}
