package commands

import "regexp"

// secretPattern matches the beginning of what may hold a secret, also where a key
// is a little wrong.
var secretPattern = regexp.MustCompile(`(?i)([\w.-]*(comm?un|pass)[\w.-]*=).*`)

// Conceal returns a command line without the secrets that it may hold, and what
// follows them.
func Conceal(line string) string { return secretPattern.ReplaceAllString(line, "$1(not shown)") }
