package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"walt/config"
	"walt/fault"
	"walt/hostkeys"
	"walt/state"
	"walt/state/badger"
	"walt/upgrade"
)

// checkCommand is "waltd check-config": whether "waltd serve" would start with the
// same file and options. It changes nothing, and finds all that is wrong at once.
func checkCommand(ctx context.Context, args []string) error {
	s := newServeSettings("check-config")
	var outlets outletsFlag
	s.flags.Var(&outlets, "power", "")
	names, err := s.parse(args, "[FILE]")
	if first := s.flags.Arg(0); outlets == everyOutlet && strings.ContainsAny(first, ":@+") {
		err = fault.Usagef("check-config: outlets are told with =").WithHint("type: --power=%s", first)
	}
	s.flags.Visit(func(f *flag.Flag) {
		if f.Name == "power" && outlets == "" {
			err = fault.Usagef("check-config: --power= names no outlet").WithHint("of all outlets that feed nodes asks --power alone")
		}
	})
	if err != nil {
		return err
	}
	if len(names) > 0 && s.file != "" {
		return fault.Usagef("check-config: --config or FILE, not both").WithHint("see: waltd help")
	}
	if len(names) > 0 {
		s.file = names[0]
	}
	_, badAdmins := s.readAdmins()
	c, err := s.load()
	if err != nil {
		return together([]error{err, badAdmins})
	}
	rows, running, err := checkData(c)
	errs := []error{badAdmins, err}
	var notes []string
	if !running {
		var bad error
		notes, bad = checkNetwork(ctx, s.file, c)
		errs = append(errs, checkListen(ctx, c.Listen), bad)
	} else if err := checkSegment(s.file, c); err != nil { // which keeps it from no reload
		notes = append(notes, "but boards and PCs could not be served at its next start: "+fault.Line(err))
	}
	notes = append(notes, unswitchable(c.Power, rows)...)
	bad := together(errs)
	if bad == nil {
		fmt.Printf("waltd: the server can start: data in %s, logins on %s\n", c.Data, c.Listen)
		if running {
			notes = append(notes, "one runs on these data now: its data and its addresses were not looked at")
		}
		for _, note := range notes {
			fmt.Printf("  %s\n", note)
		}
	}
	told, err := checkPower(ctx, c.Power, outlets, rows, running)
	for _, is := range told {
		fmt.Printf("  %s\n", is)
	}
	return together([]error{bad, err})
}

// checkData looks at the data directory, and returns what it has, unless a server is using it.
func checkData(c config.Config) (rows []state.Row, running bool, err error) {
	for _, dir := range []string{c.Data, stateDir(c.Data), filepath.Join(c.Data, "keys"), filepath.Join(c.Data, "images")} {
		if err := checkDirectory(dir); err != nil {
			return nil, false, err
		}
	}
	rows, running, err = badger.Check(stateDir(c.Data))
	if err == nil {
		err = upgrade.Known(rows)
	}
	return rows, running, together([]error{err, hostkeys.Check(filepath.Join(c.Data, "keys"), c.SSH.RSAHostKey)})
}

// checkDirectory returns a fault unless this process can write to the directory
// or, when it does not exist, make it.
func checkDirectory(dir string) error {
	const hint = "choose another with --data DIR, or run the server as the user who owns it"
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		return checkDirectory(filepath.Dir(dir))
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", dir)
	}
	if err == nil {
		if err = unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
			err = fmt.Errorf("write to %s: %w", dir, err)
		}
	}
	if err != nil {
		return fault.Failedf("cannot use the data directory: %v", err).WithHint(hint)
	}
	return nil
}

func checkListen(ctx context.Context, address string) error {
	l, err := listen(ctx, address)
	if err == nil {
		err = l.Close()
	}
	return err
}

// listen opens the address for logins.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fault.Failedf("cannot listen: %v", err).WithHint("choose another address with --listen ADDR")
	}
	return l, nil
}

// together makes one fault of all that are among the errors; another error comes
// as it is.
func together(errs []error) error {
	var msgs, hints []string
	var kind fault.Kind // the first one
	for _, err := range flatten(errs) {
		f := fault.As(err)
		if f == nil {
			return err
		}
		kind = cmp.Or(kind, f.Kind)
		msgs = append(msgs, f.Msg)
		if f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
	}
	if len(msgs) == 0 {
		return nil
	}
	return fault.New(kind, "%s", strings.Join(msgs, "\n")).WithHint("%s", strings.Join(hints, "\n"))
}

// flatten takes what errors.Join joined apart.
func flatten(errs []error) (all []error) {
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = append(all, flatten(joined.Unwrap())...)
		} else if err != nil {
			all = append(all, err)
		}
	}
	return all
}
