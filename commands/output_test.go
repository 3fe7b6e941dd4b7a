package commands

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		width   int
		bold    bool
		heading []string
		rows    [][]string
		want    string
	}{
		{name: "nothing"},
		{name: "heading alone", heading: []string{"A", "B"}, want: "A  B\n"},
		{
			name: "aligned", heading: []string{"A", "B", "C"}, rows: [][]string{{"long cell", "b", "c"}, {"a", "longer", "c"}},
			want: "A          B       C\nlong cell  b       c\na          longer  c\n",
		},
		{name: "empty cells leave no blanks at the end", rows: [][]string{{"a", "b", "c"}, {"a", "", ""}, {"", "", "c"}}, want: "a  b  c\na\n      c\n"},
		{name: "rows of several lengths", rows: [][]string{{"a"}, {"aa", "b"}}, want: "a\naa  b\n"},
		{name: "characters, not bytes", rows: [][]string{{"é", "b"}, {"ee", "b"}}, want: "é   b\nee  b\n"},
		{name: "of two cells, and of none", rows: [][]string{{"王小明", "b"}, {"👍🏽 e\u0301", "b"}, {"seven c", "b"}}, want: "王小明   b\n👍🏽 e\u0301     b\nseven c  b\n"},
		{name: "broken where they are wide", width: 10, rows: [][]string{{"王小明", "明明"}, {"a", "b"}}, want: "王小明\n  明明\na\n  b\n"},
		{name: "bold", bold: true, heading: []string{"A"}, rows: [][]string{{"a"}}, want: "\x1b[1mA\x1b[0m\na\n"},
		{name: "nothing to make bold", bold: true, rows: [][]string{{"a"}}, want: "a\n"},
		{name: "control characters", rows: [][]string{{"a\x1b[2J\r", "b\n"}, {"aaaaaa", "b\xff\u009b"}}, want: "a\uFFFD[2J\uFFFD  b\uFFFD\naaaaaa  b\uFFFD\uFFFD\n"},
		{
			name: "broken between columns", width: 10, bold: true, heading: []string{"A", "B", "C"}, rows: [][]string{{"aaaa", "bbbb", "c"}, {"a", "b", "cc"}},
			want: "\x1b[1mA     B\n  C\x1b[0m\naaaa  bbbb\n  c\na     b\n  cc\n",
		},
		{name: "it fits to the last column", width: 10, rows: [][]string{{"aaaa", "bbbb"}}, want: "aaaa  bbbb\n"},
		{name: "broken more than once", width: 9, rows: [][]string{{"aaaa", "bbbb", "c", "dddd", "e"}}, want: "aaaa\n  bbbb  c\n  dddd  e\n"},
		{name: "a cell is wider than the terminal", width: 6, rows: [][]string{{"a", "bbbbbbbb", "c"}}, want: "a\n  bbbbbbbb\n  c\n"},
		{name: "nothing on a line of its own", width: 6, rows: [][]string{{"aaa", "bbb", "c"}, {"a", "", ""}, {"a", "", "c"}}, want: "aaa\n  bbb\n  c\na\na\n  c\n"},
	} {
		var out strings.Builder
		columns(&out, table{width: c.width}, c.bold, c.heading, c.rows)
		if out.String() != c.want {
			t.Errorf("%s:\ngot\n%q\nwant\n%q", c.name, out.String(), c.want)
		}
	}
}

// A cell that is wider than the terminal is broken between its words, where it has a line of
// its own.
func TestColumnsWithWideCells(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	app := New(Services{})
	rows := [][]string{{"pc-1", "download of it: failed 4 times, next try in 8s", "x"}, {"pc-2", "up", "y"}, {"pc-3", "ハードウェア booting", "z"}}
	columns(&out, table{width: 20, fold: app.fold}, false, []string{"NAME", "STATE", "MORE"}, rows)
	const want = "NAME\n  STATE\n  MORE\npc-1\n  download of it:\n  failed 4 times,\n  next try in 8s\n  x\npc-2\n  up\n  y\npc-3\n  ハードウェア\n  booting\n  z\n"
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
}

// What would change the order of the text around it is not shown.
func TestCleanBidirectional(t *testing.T) {
	for _, r := range "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" {
		text := "a" + string(r) + "b"
		if got := clean(text); got != "a\uFFFDb" {
			t.Errorf("%q is shown as %q", text, got)
		}
		if _, err := split("node show " + text); err == nil {
			t.Errorf("%q is taken in a command line", text)
		}
	}
}

// JSON says what it has to without doing anything to the terminal that it comes to.
func TestJSONOnATerminal(t *testing.T) {
	t.Parallel()
	text := "a\x1b[2J\u009b2J\x7f\u202e<b> \u00fc\n"
	var out strings.Builder
	if err := printTo(&out, map[string]string{"text": text}); err != nil {
		t.Fatal(err)
	}
	if want := `{"text":"a\u001b[2J\u009b2J\u007f\u202e<b> ` + "\u00fc" + `\n"}` + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["text"] != text {
		t.Errorf("it is read as %q, %v", back, err)
	}
}
