package commands

import (
	"slices"
	"strings"

	"walt/fault"
)

// unknownCommand answers words that no command begins with: a group of commands,
// whose help may have been asked for, or a typing error.
func (a *App) unknownCommand(s *Session, words []string) error {
	group := a.group(words[0])
	switch {
	case isHelp(words[0]):
		a.overview(s.Out)
		return nil
	case len(group) > 0 && len(words) > 1 && (isHelp(words[1]) || words[1] == "?" || words[1] == "help"):
		a.list(s.Out, group)
		return nil
	case len(group) > 0 && len(words) == 1:
		return fault.Usagef("%q needs a second word: %s", words[0], strings.Join(verbs(group), ", ")).
			WithHint("more with: %s --help", words[0])
	case len(group) > 0:
		near := fault.Nearest(words[1], append(verbs(group), "--help"))
		if words[1] != "" && words[1][0] == '-' { // an option in front of the verb
			options := func(word string) bool { return strings.HasPrefix(word, "-") }
			if cmd, _, ok := a.lookup(slices.DeleteFunc(slices.Clone(words), options)); ok {
				return a.noCommand(words[0]+" "+words[1], []string{cmd.Path}, "")
			}
		}
		for i := range near {
			near[i] = words[0] + " " + near[i]
		}
		return a.noCommand(words[0]+" "+words[1], near, words[0]+" --help")
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
	for _, cmd := range a.table {
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
	for _, cmd := range a.table {
		if strings.HasPrefix(cmd.Path, word+" ") {
			group = append(group, cmd)
		}
	}
	return group
}
