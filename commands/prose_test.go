package commands

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// narrow is a session with a terminal of so many columns.
func (lab *testLab) narrow(width int) *Session {
	s := lab.terminal("bob")
	s.Terminal.Size = func() (int, int) { return width, 18 }
	return s
}

// Sentences are broken between words, and commands to be typed are not broken.
func TestSentences(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	for _, c := range []struct {
		name, text, want string
		width            int
	}{
		{"fits", "a sentence", "a sentence", 20},
		{"at words", "rpi-1 is yours and boots default", "rpi-1 is yours and\n  boots default", 20},
		{"to the last column", "01234567890123456789 1", "01234567890123456789\n  1", 20},
		{"below the message", "walt: not confirmed; nothing changed", "walt: not confirmed;\n      nothing changed", 21},
		{"a long word", "see " + strings.Repeat("x", 30) + " there", "see\n  " + strings.Repeat("x", 30) + "\n  there", 20},
		{"a hint", "  see all users with: user show; free nodes with: node show --free", "  see all users with: user show;\n    free nodes with:\n    node show --free", 33},
		{"a command that is longer", "  take it with: node boot rpi-1,rpi-2,rpi-3 default", "  take it with:\n    node boot rpi-1,rpi-2,rpi-3 default", 30},
		{"commands, one or another", "There is none. Add one: node create NAME, or device add NAME", "There is none. Add one:\n  node create NAME, or\n  device add NAME", 30},
		{"a reference", "  free it with: node boot n1 default (see: help show images)", "  free it with: node boot n1 default\n    (see: help show images)", 45},
		{"a command in quotes", "carol is asked, and agrees with \"node ask rpi-2,rpi-3\" within a minute.", "carol is asked, and agrees with\n  \"node ask rpi-2,rpi-3\" within a minute.", 41},
		{"words in quotes", "bob asks for rpi-1: \"nodes for the demo\"", "bob asks for rpi-1: \"nodes for\n  the demo\"", 30},
		{"commands, several", "see also: help show node-ownership, help show ci, help show log", "see also:\n  help show node-ownership,\n  help show ci,\n  help show log", 26},
		{"usage", "usage: node show [--all] [--model MODEL] [SET]", "usage: node show [--all]\n  [--model MODEL] [SET]", 30},
		{"a command of a shell", "  send it again: docker save IMAGE | ssh walt@SERVER image load os", "  send it again:\n    docker save IMAGE | ssh walt@SERVER image load os", 30},
		{"a question", "Take rpi-1, rpi-2, rpi-3 anyway? [y/N] ", "Take rpi-1, rpi-2, rpi-3\n  anyway? [y/N] ", 30},
		{"not a command", "pc-1 cannot boot: power is missing, they say", "pc-1 cannot boot: power is\n  missing, they say", 26},
		{"characters of two cells", "王小明 王小明 王小明 王", "王小明 王小明 王小明\n  王", 21},
		{"marks that combine", "e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301", "e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301e\u0301", 20},
		{"characters", "ééééé ééééé ééééé ééé", "ééééé ééééé ééééé\n  ééé", 20},
	} {
		s := &Session{Terminal: &Terminal{Name: "dumb", Size: func() (int, int) { return c.width, 24 }}}
		if got := app.fit(s, c.text); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
		if got := app.fit(&Session{}, c.text); got != c.text {
			t.Errorf("%s: without a terminal: %q", c.name, got)
		}
	}
}

// All help is there on a narrow terminal, and no word of its sentences is cut.
func TestHelpOnNarrowTerminals(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lines := []string{"help", "help list", "node --help"}
	for _, topic := range Topics() {
		lines = append(lines, "help show "+topic)
	}
	for _, cmd := range lab.app.listed() {
		lines = append(lines, cmd.Path+" --help")
	}
	styled := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	for _, width := range []int{60, 40, 25} {
		for _, line := range lines {
			wide := lab.runIn(t.Context(), lab.narrow(1000), line).stdout
			plain := lab.run("bob", line, "").stdout
			got := lab.runIn(t.Context(), lab.narrow(width), line).stdout
			if wide = strings.TrimPrefix(styled.ReplaceAllString(wide, ""), "# "); wide != strings.TrimPrefix(plain, "# ") {
				t.Errorf("%s on a wide terminal:\n%s", line, wide)
			}
			got = styled.ReplaceAllString(got, "")
			if !slices.Equal(unmarked(got), unmarked(wide)) {
				t.Errorf("%s in %d columns is not the same text:\n%s", line, width, got)
			}
			var listings []string // what is as long as this without a terminal
			for listing := range strings.Lines(plain) {
				listings = append(listings, strings.TrimSpace(listing))
				if at, _, row := secondColumn(listing); row { // which is broken
					listings = append(listings, strings.TrimSpace(listing[:at]))
				}
			}
			for part := range strings.Lines(got) {
				part = strings.TrimSuffix(part, "\n")
				words := strings.TrimPrefix(strings.TrimSpace(part), "# ")
				_, _, row := secondColumn(part)
				whole := !strings.Contains(words, " ") || !row && (slices.Contains(listings, words) || lab.app.unbroken("", words) == len(words))
				if utf8.RuneCountInString(part) > width && !whole {
					t.Errorf("%s in %d columns: %q", line, width, part)
				}
			}
		}
	}
}

// What is to be copied from help is the same on a narrow terminal.
func TestListingsOnNarrowTerminals(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	wide := lab.ok("bob", "help show ci")
	got := lab.runIn(t.Context(), lab.narrow(50), "help show ci").stdout
	for _, begin := range []string{"    set -e\n", "    test-on-a-board:\n", "    jobs:\n"} {
		_, rest, _ := strings.Cut(wide, begin)
		script, _, ok := strings.Cut(rest, "\n\n")
		if !ok || !strings.Contains(got, begin+script+"\n\n") {
			t.Errorf("the script %q is not in\n%s", script, got)
		}
	}
	if got := lab.runIn(t.Context(), lab.narrow(60), "help show device-sets").stdout; !strings.Contains(got, "devices that are marked with a\n                              tag\n") {
		t.Errorf("the second column is not broken below itself:\n%s", got)
	}
}

// unmarked are the words of a text, without the marks of comments.
func unmarked(text string) []string {
	return slices.DeleteFunc(strings.Fields(text), func(word string) bool { return word == "#" })
}

// Of what help lists, the names stand apart from what is said of them, which is broken
// between words, also where that begins below.
func TestRowsOnNarrowTerminals(t *testing.T) {
	t.Parallel()
	const text = "  node boot     make nodes boot an image of yours\n  advanced  jobs, which run\n" +
		"    kind = \"auto\"  # machines, if they\n                   # run here\n    [[model]] # boards that are new\n"
	for _, c := range []struct {
		width int
		want  string
	}{
		{48, "  node boot     make nodes boot an image of\n                yours\n  advanced  jobs, which run\n" +
			"    kind = \"auto\"  # machines, if they run here\n    [[model]] # boards that are new\n"},
		{39, "  node boot     make nodes boot an\n                image of yours\n  advanced  jobs, which run\n" +
			"    kind = \"auto\"  # machines, if they\n                   # run here\n    [[model]] # boards that are new\n"},
		{30, "  node boot\n      make nodes boot an image\n      of yours\n  advanced\n      jobs, which run\n" +
			"    kind = \"auto\"\n        # machines, if they\n        # run here\n    [[model]]\n        # boards that are new\n"},
	} {
		s := &Session{Terminal: &Terminal{Name: "dumb", Size: func() (int, int) { return c.width, 24 }}}
		if got := New(Services{}).fitHelp(s, text); got != c.want {
			t.Errorf("in %d columns:\n%swant\n%s", c.width, got, c.want)
		}
	}
}

// What a command says fits the terminal as it is when it is said, and so do its tables;
// its documents are what they are without one.
func TestOutputOnNarrowTerminals(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-2")
	s := lab.narrow(40)
	for _, line := range []string{"node release rpi-2", "node acquire pc-1", "node show --model nothing", "log show --history foo", "node fly", "image show", "log show"} {
		got := lab.runIn(t.Context(), s, line)
		for part := range strings.Lines(got.stderr) {
			if part = strings.TrimSuffix(part, "\n"); len(part) > 40 && lab.app.unbroken("", strings.TrimSpace(part)) != len(strings.TrimSpace(part)) {
				t.Errorf("%s: %q", line, part)
			}
		}
	}
	unstyled := strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "")
	for _, line := range []string{"node show --all", "node show pc-1", "device show", "image show --all", "user show"} {
		got, want := unstyled.Replace(lab.runIn(t.Context(), s, line).stdout), lab.run("bob", line, "").stdout
		if !slices.Equal(strings.Fields(got), strings.Fields(want)) {
			t.Errorf("%s in 40 columns is not the same:\n%s\nwithout a terminal:\n%s", line, got, want)
		}
		for part := range strings.Lines(got) {
			if len(part)-1 > 40 && strings.Contains(strings.TrimSpace(part), "  ") {
				t.Errorf("%s in 40 columns: %q", line, part)
			}
		}
	}
	for _, line := range []string{"node show --all --json", "log show --json"} {
		if got, want := lab.runIn(t.Context(), s, line).stdout, lab.run("bob", line, "").stdout; got != want {
			t.Errorf("%s in 40 columns:\n%s\nwithout a terminal:\n%s", line, got, want)
		}
	}
	const told = "pc-1 is yours and boots pc-x86-64-default already: left alone\n"
	width := 40
	s.Terminal.Size = func() (int, int) { return width, 18 }
	if got := lab.runIn(t.Context(), s, "node boot pc-1 pc-x86-64-default").stdout; !strings.HasPrefix(got, "pc-1 is yours and boots\n  pc-x86-64-default already: left alone\n") {
		t.Errorf("in 40 columns: %q", got)
	}
	width = 80
	if got := lab.runIn(t.Context(), s, "node boot pc-1 pc-x86-64-default").stdout; got != told {
		t.Errorf("in 80 columns: %q", got)
	}
}
