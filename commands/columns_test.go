package commands

import (
	"strings"
	"testing"
	"time"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
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
		{name: "bold", bold: true, heading: []string{"A"}, rows: [][]string{{"a"}}, want: "\x1b[1mA\x1b[0m\na\n"},
		{name: "nothing to make bold", bold: true, rows: [][]string{{"a"}}, want: "a\n"},
		{name: "control characters", rows: [][]string{{"a\x1b[2J\r", "b\n"}, {"aaaaaa", "b\xff\u009b"}}, want: "a\uFFFD[2J\uFFFD  b\uFFFD\naaaaaa  b\uFFFD\uFFFD\n"},
	} {
		var out strings.Builder
		columns(&out, c.bold, c.heading, c.rows)
		if out.String() != c.want {
			t.Errorf("%s:\ngot\n%q\nwant\n%q", c.name, out.String(), c.want)
		}
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 min ago", 59 * time.Minute: "59 min ago",
		time.Hour: "1 h ago", 47 * time.Hour: "47 h ago", 48 * time.Hour: "2 days ago", 1000 * time.Hour: "41 days ago",
	} {
		if got := ago(noon, noon.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(noon, time.Time{}); got != "-" {
		t.Errorf("never: %q", got)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "5m": 5 * time.Minute, "2h30m": 150 * time.Minute, "3d": 72 * time.Hour, "1.5d": 36 * time.Hour,
		"": 0, "d": 0, "5": 0, "-5m": 0, "0s": 0, "soon": 0, "99999999d": 0, "9999999999h": 0,
	} {
		got, err := duration("--timeout", s)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
}
