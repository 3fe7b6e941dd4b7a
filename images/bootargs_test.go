package images

import (
	"strings"
	"testing"
)

// What loaders take for words of their own does not come into the command line of a
// kernel, nor what the server tells with it.
func TestBootArgs(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "", "  ": "", "quiet": "quiet", " console=ttyS1,115200\tquiet\n": "console=ttyS1,115200 quiet",
		"root=UUID=1-2 a.b=c+d@e%f*": "root=UUID=1-2 a.b=c+d@e%f*", strings.Repeat("x", 512): strings.Repeat("x", 512),
	} {
		if got, err := ParseBootArgs(s); err != nil || got != want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"a 'b'": `"'" cannot`, "a;b": `";" cannot`, "${ip}": `"$" cannot`, "a&&b": `"&" cannot`, "a\x00": `"\x00" cannot`, "é": `"é" cannot`, `a"b"`: `"\"" cannot`,
		"quiet walt.mac=x": `"walt.mac=x" is told by the server`, strings.Repeat("x", 513): "they have 513 characters", "a\\b": `"\\" cannot`, "a#b": `"#" cannot`,
	} {
		if got, err := ParseBootArgs(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
}
