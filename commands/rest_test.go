package commands

import (
	"slices"
	"strings"
	"testing"
)

// What is passed on is what was typed, and means the same words.
func FuzzRest(f *testing.F) {
	for _, line := range []string{
		"a", "a b", ` a  "b c" 'd'e\\ f # no`, `a#b "#"`, `'' ""`, `"\\"" x`, "a\tb", `echo "a  b"`, `'ls | wc -l'`, `"ls -l" # list`, `'a'#b`,
		`a\ `, `a \  b`, `a\\ b`, `\# a`, `"a\"b"`, `"a\\" b`, `'a\' b`, `'a''b'`, `"a"'b'`, `"a'b"`, `'a"b'`, `sh -c 'exit 3'`, `"é" ü  ö`,
		`--  -x`, `a\#b`, `a "b" # 'open`, `""`, `''`, `"" ''`, `\'a`, `\"a b\"`, `a"b c"d`, `x=$(date) >/tmp/x; y`, `"\a"`, "'\t'", `" a "`, `a \`, `'`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split("x " + line)
		if err != nil || len(words) < 2 || len(words) > 20 { // the work is quadratic
			return
		}
		words = words[1:]
		spans := wordSpans(line)
		if len(spans) != len(words) {
			t.Fatalf("%q: %q stand at %v", line, words, spans)
		}
		for i, at := range spans {
			one, err := split("x " + line[at.from:at.to])
			if err != nil || !slices.Equal(one[1:], words[i:i+1]) {
				t.Fatalf("%q: %v is %q, %v; want %q", line, at, one, err, words[i])
			}
		}
		c := &Call{line: "node run pc-1 " + line, args: append([]string{"pc-1"}, words...)}
		for i := range words {
			text := c.rest(i + 1)
			if !strings.Contains(line, text) && (i < len(words)-1 || text != words[i]) {
				t.Fatalf("%q: %q was never typed", line, text)
			}
			again, err := split("x " + text)
			whole := err == nil && slices.Equal(again[1:], words[i:])
			content := i == len(words)-1 && text == words[i] && isQuoted(line[spans[i].from:spans[i].to])
			if !whole && !content {
				t.Fatalf("%q: from word %d on %q is passed, which is %q, %v; want %q", line, i, text, again, err, words[i:])
			}
		}
	})
}
