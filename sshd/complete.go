package sshd

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"walt/commands"
)

// maxListed is how many candidates are listed at once.
const maxListed = 200

// complete replaces the word that ends at pos by what all its candidates
// begin with. When that is no progress, a second Tab lists them.
func (sh *shell) complete(line string, pos int) (newLine string, newPos int, ok bool) {
	// x/term does not hold its lock now, but unlocks it on the way of a panic,
	// which would end the process.
	var status int
	defer sh.recoverPanic(&status)
	ctx, cancel := context.WithTimeout(sh.ctx, 2*time.Second)
	defer cancel()
	start, words := sh.candidates(ctx, line[:pos])
	if len(words) == 0 || start < 0 || start > pos {
		return line, pos, true
	}
	word, rest := commonPrefix(words), line[pos:]
	if len(words) == 1 && !strings.ContainsAny(word[len(word)-1:], commands.GoesOn) {
		word += " "
		rest = strings.TrimPrefix(rest, " ")
	}
	switch {
	case len(words) == 1 || len(word) > pos-start && strings.HasPrefix(word, line[start:pos]):
		sh.tabbed = ""
		done := line[:start] + word
		return done + rest, len(done), true
	case sh.tabbed == line:
		sh.list(words)
	}
	sh.tabbed = line
	return line, pos, true
}

// candidates are what the runner offers for the end of a line, when it is its turn; none
// when that takes too long.
func (sh *shell) candidates(ctx context.Context, line string) (start int, words []string) {
	select {
	case sh.srv.completing <- struct{}{}:
		defer func() { <-sh.srv.completing }()
		return sh.srv.runner.Complete(ctx, &sh.base, line)
	case <-ctx.Done():
		return 0, nil
	}
}

// commonPrefix returns what all words begin with.
func commonPrefix(words []string) string {
	common := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, common) {
			_, n := utf8.DecodeLastRuneInString(common)
			common = common[:len(common)-n]
		}
	}
	return common
}

// list shows the candidates above the prompt.
func (sh *shell) list(words []string) {
	width, height := sh.tty.size()
	fmt.Fprint(sh.base.Err, listing(words, width, height))
}

// listing is the first of the candidates in columns, as many as a window has room for.
// What they share up to the last item of a set or the value of an option is left out.
func listing(words []string, width, height int) string {
	shared := strings.LastIndexAny(commonPrefix(words), ",=+") + 1
	items := commands.InOrder(words, maxListed)
	for i, w := range items {
		items[i] = w[shared:]
	}
	room := max(1, height-2) // for the prompt and the number of those that are left out
	if most := columnsOf(items, width) * room; len(words) > most {
		items = items[:min(len(items), most)]
	}
	text := inColumns(items, width)
	if more := len(words) - len(items); more > 0 {
		text += fmt.Sprintf("... and %d more\n", more)
	}
	return text
}

// columnsOf returns how many columns of items fit the width.
func columnsOf(items []string, width int) int {
	return max(1, (width-1+gap)/(longest(items)+gap)) // the last character of a line stays empty
}

// gap is how many blanks are between two columns.
const gap = 2

func longest(items []string) (characters int) {
	for _, item := range items {
		characters = max(characters, utf8.RuneCountInString(item))
	}
	return characters
}

// inColumns sets items in as many columns as fit the width, down and then
// across.
func inColumns(items []string, width int) string {
	columns, cell := columnsOf(items, width), longest(items)+gap
	rows := (len(items) + columns - 1) / columns
	var text strings.Builder
	for row := range rows {
		for i := row; i < len(items); i += rows {
			if i+rows < len(items) {
				fmt.Fprintf(&text, "%-*s", cell, items[i])
			} else {
				text.WriteString(items[i] + "\n")
			}
		}
	}
	return text.String()
}
