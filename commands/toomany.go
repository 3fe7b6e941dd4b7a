package commands

import (
	"slices"
	"strings"

	"walt/fault"
	"walt/nodes"
)

// tooMany is the fault for more than the most arguments that there may be. It
// tells who typed one word as several, or what a shell of Unix would take, how that
// is done here.
func (c *Call) tooMany(words []string, most int) *fault.Error {
	f := fault.Usagef("%s: too many arguments, from %q on", c.cmd.Path, c.args[most])
	if sign := shellSign(c.args); sign != "" {
		return f.WithHint(forOwnShell, sign)
	}
	if hint := c.broken(words, c.args[most]); hint != "" {
		return f.WithHint("%s", hint)
	}
	for _, word := range c.args {
		if _, known := c.flag("--" + word); known {
			return f.WithHint("did you mean --%s?", word)
		}
	}
	first := slices.IndexFunc(c.cmd.Args, func(a Arg) bool { return a.Name == setArg.Name })
	if first < 0 {
		return f
	}
	if last := c.args[most-1] + c.args[most]; most > first+1 && isLength(last) {
		return f.WithHint("a length of time is one word: %s", last)
	}
	if slices.ContainsFunc(c.cmd.Args, func(a Arg) bool { return strings.HasSuffix(a.Name, ",...") }) {
		return f.WithHint("several are joined by commas, without blanks, as in rpi-1,rpi-2 and bob,carol")
	}
	set := joinedSet(c.args[first : first+1+len(c.args)-most])
	if _, err := nodes.ParseSet(set); err != nil {
		return f
	}
	if strings.Contains(set, "+") || strings.Contains(set, ":") {
		return f.WithHint("a set is one word, without blanks: %s", set)
	}
	return f.WithHint("several are joined by commas, without blanks: %s", set)
}

// broken tells of an option whose value goes on in the next word, "" if there is none.
func (c *Call) broken(words []string, next string) string {
	for i := 2; i < len(words); i++ {
		f, known := c.flag(words[i-2])
		if !known || words[i] != next && words[i] != c.args[0] {
			continue
		}
		switch value, next := words[i-1], words[i]; {
		case f.Value == "D" && isLength(value+next):
			return "blanks end the value of an option: " + words[i-2] + " " + value + next
		case f.Value == "T" && c.isEnd(value+"T"+next):
			return "blanks end the value of an option: " + words[i-2] + " " + value + "T" + next
		case f.Value == "WORD":
			return words[i-2] + " takes one word; several: node note SET TEXT"
		}
	}
	return ""
}

// joinedSet is a set whose words were typed with blanks between them.
func joinedSet(words []string) string {
	s := strings.Join(words, " ")
	for _, sign := range []string{",", "+", ":"} {
		parts := strings.Split(s, sign)
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		s = strings.Join(parts, sign)
	}
	terms := strings.FieldsFunc(strings.ReplaceAll(s, " or ", ","), func(r rune) bool { return r == ',' || r == ' ' })
	return strings.Join(terms, ",")
}

// shellSigns are words that mean something to a shell of Unix.
var shellSigns = []string{"|", "||", "&", "&&", ";", ">", ">>", "<"}

// forOwnShell is the hint about such a sign.
const forOwnShell = "%q is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)"

// shellSign returns the first such sign among words, or ";" at the end of one; "" for none.
func shellSign(words []string) string {
	for _, word := range words {
		switch {
		case slices.Contains(shellSigns, word):
			return word
		case strings.HasSuffix(word, ";"):
			return ";"
		}
	}
	return ""
}
