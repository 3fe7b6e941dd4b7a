package commands

import (
	"regexp"
	"strings"
	"testing"
)

// Whatever text of the server, of any package, names a command does so where
// TestHints finds and tries it, or in quotes, or as the subject of a message.
func TestMentionsAreHints(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	var paths []string
	help := map[string]bool{}
	for _, cmd := range app.listed() {
		help[cmd.Path], help[cmd.Short], help[cmd.Long] = true, true, true
		for _, path := range cmd.Also {
			help[path] = true
		}
		if strings.Contains(cmd.Path, " ") {
			paths = append(paths, regexp.QuoteMeta(cmd.Path))
		}
	}
	mention := regexp.MustCompile(`(?:^|[^"\w-])(` + strings.Join(paths, "|") + `)\b(:?)`)
	found := 0
	for text, at := range literals(t) {
		if help[text] || strings.HasPrefix(text, "Usage:\n") {
			continue
		}
		rest := text
		for _, hint := range app.hinted(text) {
			rest = strings.ReplaceAll(rest, hint, "")
			found++
		}
		for _, m := range mention.FindAllStringSubmatchIndex(rest, -1) {
			subject := m[2] == 0 && m[4] < m[5] // as in "node acquire: SET is missing"
			if name := rest[m[2]:m[3]]; !subject && !strings.Contains(rest, "options of "+name) {
				t.Errorf("%s: %q names %s where no test looks: put it behind a colon, or in quotes", at, text, name)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d hints are found", found)
	}
}

// Options and commands of the server program that texts name are there.
func TestMentionsOfOptions(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"help": true, "version": true}
	for _, cmd := range New(Services{}).listed() {
		for _, f := range cmd.Flags {
			known[f.Name] = true
		}
	}
	texts := literals(t)
	program := map[string]bool{}
	for text := range texts {
		if strings.HasPrefix(text, "Usage:\n  waltd serve") {
			for _, m := range regexp.MustCompile(`(?m)^  waltd ([a-z-]+)`).FindAllStringSubmatch(text, -1) {
				program[m[1]] = true
			}
			for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(text, -1) {
				known[m[1]] = true
			}
		}
	}
	if len(program) < 8 {
		t.Fatalf("the commands of waltd: %v", program)
	}
	for text, at := range texts {
		if strings.HasPrefix(at, "images/imagetest/") || strings.HasPrefix(at, "netboot/boottest/") || strings.Contains(text, "gpg --") || regexp.MustCompile(`(?m)^(#!ipxe|(chain|initrd) --)`).MatchString(text) { // of other programs
			continue
		}
		for _, m := range regexp.MustCompile(`(?:^|[ (\[])--([a-z][a-z-]+)`).FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s: %q names the option --%s, which is not there", at, text, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`(?:: |")waltd ([a-z-]+)`).FindAllStringSubmatch(text, -1) {
			if !program[m[1]] {
				t.Errorf("%s: %q names waltd %s, which is not there", at, text, m[1])
			}
		}
	}
}
