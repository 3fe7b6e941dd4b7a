package commands

import (
	"context"
	"fmt"
)

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
