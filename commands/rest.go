package commands

import "strings"

// wordStarts returns where each word of a line begins, by the rules by which
// split finds them.
func wordStarts(line string) (starts []int) {
	const (
		between = iota
		inWord
		inSingle
		inDouble
	)
	state, escaped := between, false
	for i := range len(line) {
		b := line[i]
		if state == between && b != ' ' && b != '\t' {
			if b == '#' { // the rest is a comment
				return starts
			}
			starts, state = append(starts, i), inWord
		}
		switch {
		case escaped:
			escaped = false
		case state == inSingle:
			if b == '\'' {
				state = inWord
			}
		case b == '\\':
			escaped = true
		case b == '"' && state == inDouble:
			state = inWord
		case state == inDouble:
		case b == '"':
			state = inDouble
		case b == '\'':
			state = inSingle
		case b == ' ' || b == '\t':
			state = between
		}
	}
	return starts
}

// rest returns the line as it was typed from the i-th argument on, for commands
// whose last argument is text that somebody else reads. If it is one quoted word,
// that is its content.
func (c *Call) rest(i int) string {
	starts := wordStarts(c.line)
	words := len(c.args) - i
	text := strings.TrimRight(c.line[starts[len(starts)-words]:], " \t")
	if quote := text[0]; words == 1 && (quote == '\'' || quote == '"') && isQuoted(text) {
		return c.args[i]
	}
	return text
}

// isQuoted reports whether a word is one pair of quotes and what is between.
func isQuoted(word string) bool {
	for i := 1; i < len(word); i++ {
		switch {
		case word[i] == '\\' && word[0] == '"':
			i++
		case word[i] == word[0]:
			return i == len(word)-1
		}
	}
	return false
}
