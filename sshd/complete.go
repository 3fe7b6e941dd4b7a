package sshd

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
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
	start, words := sh.srv.runner.Complete(ctx, &sh.base, line[:pos])
	if len(words) == 0 || start < 0 || start > pos {
		return line, pos, true
	}
	word, rest := commonPrefix(words), line[pos:]
	if len(words) == 1 && !strings.HasSuffix(word, "=") && !strings.HasSuffix(word, ",") {
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

// list shows the candidates above the prompt, in columns. What they share up
// to the last item of a set or the value of an option is left out.
func (sh *shell) list(words []string) {
	shared := strings.LastIndexAny(commonPrefix(words), ",=") + 1
	width, _ := sh.tty.size()
	var items []string
	for _, w := range words[:min(len(words), maxListed)] {
		items = append(items, w[shared:])
	}
	text := inColumns(items, width)
	if more := len(words) - len(items); more > 0 {
		text += fmt.Sprintf("... and %d more\n", more)
	}
	fmt.Fprint(sh.base.Err, text)
}

// inColumns sets items in as many columns as fit the width, down and then
// across.
func inColumns(items []string, width int) string {
	longest := 0
	for _, item := range items {
		longest = max(longest, utf8.RuneCountInString(item))
	}
	columns := max(1, (width+1)/(longest+2))
	rows := (len(items) + columns - 1) / columns
	var text strings.Builder
	for row := range rows {
		for i := row; i < len(items); i += rows {
			if i+rows < len(items) {
				fmt.Fprintf(&text, "%-*s", longest+2, items[i])
			} else {
				text.WriteString(items[i] + "\n")
			}
		}
	}
	return text.String()
}
