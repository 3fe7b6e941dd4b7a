package commands

import "regexp"

// secretPattern matches settings that hold a secret, as in snmp.community=...,
// and the rest of the line; also those whose key is misspelt a little.
var secretPattern = regexp.MustCompile(`(?i)([\w.-]*(comm?un|pass)[\w.-]*=).*`)

// Conceal returns a command line without the secrets that it may hold, and what
// follows them.
func Conceal(line string) string { return secretPattern.ReplaceAllString(line, "$1(not shown)") }
