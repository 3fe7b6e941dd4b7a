package commands

import (
	"context"
	"embed"
	"io"
	"slices"
	"strings"

	"walt/fault"
)

// topics are the texts of "help show": <name>.md, whose first line is "# title".
//
//go:embed topics/*.md
var topics embed.FS

func helpCommands() []Command {
	topicArg := Arg{Name: "TOPIC", Optional: true, Complete: func(context.Context, *Call, string) []string { return Topics() }}
	return []Command{{
		Path: "help", Also: []string{"?", "man"}, Short: "show all commands, one of them, or a topic",
		Long: `WHAT is a topic, which "help list" lists, or a command, as in:
  help node acquire`,
		Args: []Arg{{Name: "WHAT", Optional: true, Many: true, Complete: topicArg.Complete}}, Run: help,
	}, {
		Path: "help list", Also: []string{"help topics"}, Short: "list the topics",
		Run: func(_ context.Context, c *Call) error {
			var rows [][]string
			for _, name := range Topics() {
				text, _ := Topic(name)
				title, _, _ := strings.Cut(text, "\n")
				rows = append(rows, []string{name, strings.TrimPrefix(title, "# ")})
			}
			var b strings.Builder
			columns(&b, table{}, false, nil, rows)
			_, err := io.WriteString(c.Out, c.fitHelp(c.Session, b.String()))
			return err
		},
	}, {
		Path: "help show", Short: "show a topic, or the commands", Args: []Arg{topicArg}, Run: helpShow,
	}}
}

func help(ctx context.Context, c *Call) error {
	cmd, rest, ok := c.lookup(c.args)
	switch {
	case len(c.args) == 0 || slices.Contains(Topics(), c.arg(0)) && len(c.args) == 1:
		return helpShow(ctx, c)
	case ok && cmd.Instead != "":
		return c.dispatch(ctx, c.Session, c.line, c.args)
	case ok && (len(rest) == 0 || len(cmd.Args) > 0):
		c.describe(c.Session, cmd)
		return nil
	case ok:
		var known []string
		for _, cmd := range c.listed() {
			known = append(known, cmd.Path)
		}
		typed := strings.Join(c.args, " ")
		return c.noCommand(typed, fault.Nearest(typed, known), "help")
	case len(c.args) == 1 && len(c.group(c.arg(0))) == 0:
		if paths := c.pathsEnding(c.arg(0)); len(paths) > 0 {
			return c.noCommand(c.arg(0), paths, "help")
		}
		return fault.Unknown("topic or command", c.args, append(c.firstWords(), Topics()...), "see all topics with: help list; all commands with: help")
	}
	return c.unknownCommand(c.Session, append(slices.Clone(c.args), "--help"))
}

func helpShow(_ context.Context, c *Call) error {
	name := c.arg(0)
	if name == "" {
		c.overview(c.Session)
		return nil
	}
	text, known := Topic(name)
	if !known {
		f := fault.Unknown("topic", []string{name}, Topics(), "see all topics with: help list")
		if _, _, ok := c.lookup([]string{name}); ok || len(c.group(name)) > 0 {
			f = f.WithHint("it is a command, which this explains: help %s", name)
		}
		return f
	}
	text = c.fitHelp(c.Session, text)
	if heading, rest, _ := strings.Cut(text, "\n"); c.fancy() {
		text = "\x1b[1m" + strings.TrimPrefix(heading, "# ") + "\x1b[0m\n" + rest
	}
	_, err := io.WriteString(c.Out, text)
	return err
}

// Topics lists the topics of "help show" in alphabetical order.
func Topics() []string {
	entries, err := topics.ReadDir("topics")
	if err != nil {
		panic(err) // they are part of the binary
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".md"))
	}
	return names
}

// Topic returns the text of a topic, whose first line is "# title"; known is false
// when there is no such topic.
func Topic(name string) (text string, known bool) {
	b, err := topics.ReadFile("topics/" + name + ".md")
	return string(b), err == nil
}

// overview writes all commands, by their first word.
func (a *App) overview(s *Session) {
	io.WriteString(s.Out, a.fit(s, "The commands of walt; each takes --help. Topics: help list\n\n"))
	a.list(s, a.listed())
}

// list writes a line for each command.
func (a *App) list(s *Session, cmds []Command) {
	var b strings.Builder
	var rows [][]string
	for _, cmd := range cmds {
		rows = append(rows, []string{"  " + cmd.Path, cmd.Short})
	}
	columns(&b, table{}, false, nil, rows)
	io.WriteString(s.Out, a.fitHelp(s, b.String()))
}

// unknownCommand answers words that no command begins with: a group of commands,
// whose help may have been asked for, or a typing error.
func (a *App) unknownCommand(s *Session, words []string) error {
	group := a.group(words[0])
	switch {
	case isHelp(words[0]):
		a.overview(s)
		return nil
	case len(group) > 0 && len(words) > 1 && (isHelp(words[1]) || words[1] == "?" || words[1] == "help"):
		a.list(s, group)
		return nil
	case len(words) > 1 && shellSign(words[:2]) != "":
		return fault.Usagef("unknown command %q", strings.Join(words[:2], " ")).WithHint(forOwnShell, shellSign(words[:2]))
	case len(group) > 0 && len(words) == 1:
		return fault.Usagef("%q needs a second word: %s", words[0], strings.Join(verbs(group), ", ")).
			WithHint("more with: %s --help", words[0])
	case len(group) > 0:
		near := fault.Nearest(words[1], append(verbs(group), "--help"))
		if words[1] != "" && words[1][0] == '-' { // an option in front of the verb
			if cmd, _, ok := a.lookup(withoutOptions(words)); ok {
				return a.noCommand(words[0]+" "+words[1], []string{cmd.Path}, "")
			}
		}
		for i := range near {
			near[i] = words[0] + " " + near[i]
		}
		if len(near) == 0 { // it may be said of something else
			near = a.pathsEnding(words[1])
		}
		return a.noCommand(words[0]+" "+words[1], near, words[0]+" --help")
	}
	if cmd, _, ok := a.lookup(withoutOptions(words)); ok && strings.HasPrefix(words[0], "-") && cmd.Instead == "" {
		return a.noCommand(words[0], []string{cmd.Path}, "help")
	}
	near := fault.Nearest(words[0], a.firstWords())
	if len(near) == 0 {
		near = a.pathsEnding(words[0])
	}
	for i, n := range near {
		if cmd, _, ok := a.lookup(append([]string{n}, words[1:]...)); ok {
			near[i] = cmd.Path
		}
	}
	return a.noCommand(words[0], near, "help")
}

// withoutOptions returns the words that do not begin with a minus.
func withoutOptions(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return strings.HasPrefix(word, "-") })
}

// noCommand is the fault for a command that does not exist. Its hint names the
// nearest ones and how to use the first of them, or the line that shows all.
func (a *App) noCommand(typed string, near []string, all string) error {
	f := fault.Usagef("unknown command %q", typed)
	if len(near) == 0 {
		return f.WithHint("see what there is with: %s", all)
	}
	hint := "did you mean " + strings.Join(near, " or ") + "?"
	if cmd, _, ok := a.lookup(strings.Fields(near[0])); ok {
		hint += "\nusage: " + cmd.usage()
	} else if group := a.group(near[0]); len(group) > 0 {
		hint += "\n" + near[0] + ": " + strings.Join(verbs(group), ", ")
	}
	return f.WithHint("%s", hint)
}

// pathsEnding returns the paths of the commands that can be called by words whose
// last is this.
func (a *App) pathsEnding(word string) (paths []string) {
	for _, cmd := range a.listed() {
		ends := func(path string) bool { return strings.HasSuffix(path, " "+word) }
		if ends(cmd.Path) || slices.ContainsFunc(cmd.Also, ends) {
			paths = append(paths, cmd.Path)
		}
	}
	return paths
}

// firstWords are the words that command lines begin with, each once.
func (a *App) firstWords() (words []string) {
	for _, cmd := range a.listed() {
		words = append(words, strings.Fields(cmd.Path)[0])
	}
	return slices.Compact(words)
}

// listed are the commands that can be run.
func (a *App) listed() []Command {
	return slices.DeleteFunc(slices.Clone(a.table), func(cmd Command) bool { return cmd.Instead != "" })
}

// verbs are the paths of a group of commands without its first word.
func verbs(group []Command) (words []string) {
	for _, cmd := range group {
		_, verb, _ := strings.Cut(cmd.Path, " ")
		words = append(words, verb)
	}
	return words
}

// group returns the commands whose path begins with the word.
func (a *App) group(word string) (group []Command) {
	for _, cmd := range a.listed() {
		if strings.HasPrefix(cmd.Path, word+" ") {
			group = append(group, cmd)
		}
	}
	return group
}
