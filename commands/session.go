package commands

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

// Session is one channel of one connection: who types, and where the answers
// go. Whoever makes one owns its streams.
type Session struct {
	User    auth.Name
	Admin   bool      // at the login or, for a command that runs, when it began
	Created time.Time // when the user came to this lab; known while a command runs
	Key     string    // SHA256 fingerprint of the key that was verified
	// Certified says that a certificate vouched for the key: it is not among
	// those of the user.
	Certified bool
	Expires   time.Time // from when on the key or certificate is not valid; zero: always
	// Restricted says that the key has options, as those of CI runners: it does
	// not manage keys, or it could make itself one without.
	Restricted bool
	Client     netip.Addr     // where the connection comes from
	Server     netip.AddrPort // where it came to
	Login      string         // the login name, walt or the user's

	// Channel returns what ends with the session, which may run several lines when Several, and
	// soon when the client vanishes without a word, from then on; nil: it ends with the line.
	Channel func() context.Context
	Several bool

	Zone *time.Location // of the user's clock; nil: as the server's

	In  io.Reader // what the client sends, until it ends it
	Out io.Writer // results
	Err io.Writer // everything else

	// Breaks has what the client asks for with a request "break" (RFC 4335), as OpenSSH's does
	// at ~B, while somebody receives; nil: it cannot.
	Breaks <-chan struct{}

	// Ask prints the prompt to Err and returns one line of the client's input
	// without its end. It fails with io.EOF at the end of input and with the
	// context's error when that ends first.
	Ask func(ctx context.Context, prompt string) (string, error)

	// End ends all sessions of the login, which is not valid any more; nil for none.
	End func(why string)

	// Waiting derives a context that ends also when the server begins to stop, for
	// what waits for others; nil: it does not stop.
	Waiting func(context.Context) (context.Context, context.CancelFunc)

	// Alive reports whether the client still answers, in a moment; nil: it is taken to.
	Alive func(context.Context) bool

	// Terminal is nil when the session has none: then no colour, no cursor
	// tricks and no animation.
	Terminal *Terminal
}

// Terminal is what a session knows of the client's terminal.
type Terminal struct {
	Name string                     // as in TERM
	Size func() (width, height int) // now, in character cells
	// Resized receives after the size changed.
	Resized <-chan struct{}
	// Raw switches the interpretation of Ctrl-C and the translation of line
	// ends off (true) and on again, for a command that passes the terminal on.
	Raw func(on bool)
	// Clear empties the screen.
	Clear func()
}

// fancy reports whether the client's terminal understands escape sequences.
func (s *Session) fancy() bool { return s.Terminal != nil && s.Terminal.Name != "dumb" }

// waiting derives a context for what waits for others.
func (s *Session) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Waiting == nil {
		return context.WithCancel(ctx)
	}
	return s.Waiting(ctx)
}

// Welcome begins a login: it shows the notices that the user has not seen yet.
func (a *App) Welcome(ctx context.Context, s *Session) {
	texts, err := a.Journal.Unseen(ctx, string(s.User))
	if err != nil && ctx.Err() == nil && fault.As(err) == nil { // else the client is gone, or who changes something is told
		a.Log.Error("read notices", "user", s.User, "err", err)
	}
	for _, text := range texts {
		a.Tell(s, "walt: "+clean(text)+"\n")
	}
}

// Notices shows the user what comes up until ctx ends, also which holds end soon.
func (a *App) Notices(ctx context.Context, s *Session, show func(text string)) error {
	ctx, cancel := context.WithCancel(ctx)
	var warnings sync.WaitGroup
	warnings.Go(func() { // ends with ctx
		a.Lab.Warnings(ctx, s.User, func(w nodes.Warning) { show(a.fit(s, s.warning(a.Now(), w))) })
	})
	defer warnings.Wait()
	defer cancel()
	return a.Journal.Notices(ctx, string(s.User), func(text string) { show(a.fit(s, clean(text))) })
}

// shellCommands are about the session itself, and words that people bring from
// other shells.
func shellCommands() []Command {
	return []Command{{
		Path: "version", Short: "show which version of the server this is",
		Run: func(_ context.Context, c *Call) error {
			_, err := fmt.Fprintln(c.Out, "waltd", c.Version)
			return err
		},
	}, {
		Path: "clear", Short: "clear the screen",
		Run: func(_ context.Context, c *Call) error {
			switch {
			case c.fancy():
				c.Terminal.Clear()
			case c.Terminal != nil:
				c.note("A terminal of the type %s cannot be cleared.", c.Terminal.Name)
			}
			return nil
		},
	}, {
		Path: "exit", Also: []string{"quit", "logout"}, Short: "leave the shell, or end the script",
		Run: func(context.Context, *Call) error { return nil }, // see Leaves
	}, {
		Path: "scp", Instead: "scp -O, scp -R, and scp before OpenSSH 9, run scp on the server, which does not:\nuse a newer scp without these, or sftp (see: help show reaching-nodes)",
	}, {
		Path: "rsync", Instead: "rsync to a node itself, through this server (see: help show reaching-nodes)",
	}, {
		Path: "ls", Instead: "your nodes: node show\nyour images: image show",
	}, {
		Path: "status", Instead: "all nodes, with their states: node show --all",
	}, {
		Path: "history", Instead: "what you typed comes back with the Up key\nwhat happened in the lab: log show",
	}}
}

// Leaves reports whether a line leaves the shell or script that it stands in, and
// so is not to be run.
func (a *App) Leaves(line string) bool {
	words, err := split(line)
	if err != nil {
		return false
	}
	cmd, rest, ok := a.lookup(words)
	return ok && cmd.Path == "exit" && len(rest) == 0
}
