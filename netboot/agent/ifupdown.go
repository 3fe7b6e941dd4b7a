//go:build linux

package main

import (
	"path"
	"slices"
	"strings"
)

// withoutUplink takes the interface that the root comes over out of what ifupdown is to
// configure, and what would take that interface into it, as a bridge: neither the boot
// nor a user brings them up or down then. It may be called iface by now, or have a name
// of Ethernet later. See interfaces(5).
func withoutUplink(text, iface string) string {
	ours := func(name string) bool { return name == iface || strings.HasPrefix(name, "e") }
	var above []string // what is made of it
	name := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case beginsStanza(words[0]):
			if name = ""; words[0] == "iface" {
				name = words[1]
			}
		case takesIn(words[0]) && slices.ContainsFunc(words[1:], ours):
			above = append(above, name)
		}
	}
	not := func(name string) bool { return ours(name) || slices.Contains(above, name) }
	var b strings.Builder
	out := false // of the stanza
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || !beginsStanza(words[0]) {
			writeLine(&b, line, out && len(words) > 0)
			continue
		}
		out = false
		switch {
		case words[0] == "iface" || words[0] == "mapping":
			out = not(words[1])
		case words[0] == "auto" || strings.HasPrefix(words[0], "allow-"):
			kept := slices.DeleteFunc(slices.Clone(words[1:]), not)
			if len(kept) > 0 && len(kept) < len(words)-1 {
				line = words[0] + " " + strings.Join(kept, " ") + "\n"
			}
			writeLine(&b, line, len(kept) == 0)
			continue
		}
		writeLine(&b, line, out)
	}
	return b.String()
}

// sourced returns the patterns of files that a file in dir brings in.
func sourced(text, dir string) (patterns []string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "source" && words[0] != "source-directory" {
			continue
		}
		for _, pattern := range words[1:] {
			if !path.IsAbs(pattern) {
				pattern = path.Join(dir, pattern)
			}
			if words[0] == "source-directory" {
				pattern = path.Join(pattern, "*")
			}
			patterns = append(patterns, pattern)
		}
	}
	return patterns
}

// writeLine writes a line, as a comment if it is out.
func writeLine(b *strings.Builder, line string, out bool) {
	if out {
		line = "# walt: the root comes over it: " + strings.TrimSpace(line) + "\n"
	}
	b.WriteString(line)
}

// beginsStanza reports whether the word ends the stanza before it.
func beginsStanza(word string) bool {
	return strings.HasPrefix(word, "allow-") ||
		slices.Contains([]string{"auto", "iface", "mapping", "source", "source-directory", "template", "rename", "no-auto-down", "no-scripts"}, word)
}

// takesIn reports whether an option names interfaces that become part of another one.
func takesIn(option string) bool {
	return slices.Contains([]string{"bridge_ports", "bridge-ports", "bond-slaves", "bond_slaves", "slaves"}, option)
}
