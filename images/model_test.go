package images

import (
	"slices"
	"strings"
	"testing"

	"walt/fault"
)

func TestParseModel(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "rpi-3-b", "pc-x86-64", "0", strings.Repeat("a", 54)} {
		m, err := ParseModel(s)
		if err != nil || string(m) != s {
			t.Errorf("%q: got %q, %v", s, m, err)
		}
		if _, err := ParseRef(DefaultRef(m).Full()); err != nil {
			t.Errorf("%q: its default image has no valid name: %v", s, err)
		}
	}
	for _, s := range []string{"", "-a", "a-", "A", "a_b", strings.Repeat("a", 55)} {
		m, err := ParseModel(s)
		if f := fault.As(err); f == nil || f.Kind != fault.Usage || f.Hint == "" {
			t.Errorf("%q: got %q, %v, want a usage fault with a hint", s, m, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	p := KnownPlatforms()
	p["rpi-cm-*"] = []string{"linux/arm64"}
	p["board"] = []string{"linux/riscv64"}
	for m, want := range map[Model]string{
		"pc-x86-64": "linux/amd64 linux/386", "pc-x86-32": "linux/386",
		"rpi-b": "linux/arm/v6 linux/arm/v5", "rpi-zero-w": "linux/arm/v6 linux/arm/v5", "rpi-2-b": "linux/arm/v7 linux/arm/v6 linux/arm/v5",
		"rpi-3-b": "linux/arm64 linux/arm/v7 linux/arm/v6 linux/arm/v5", "rpi-zero-2-w": "linux/arm64 linux/arm/v7 linux/arm/v6 linux/arm/v5",
		"rpi-cm-4": "linux/arm64", "board": "linux/riscv64", "board-2": "", "pc": "", "": "",
	} {
		if got := p.Of(m); strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", m, got, want)
		}
	}
	for m := range KnownPlatforms() {
		if _, err := ParseModel(strings.TrimRight(string(m), "-*")); err != nil || slices.Contains(p.Of(m), "") {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// A label may be as large as a registry likes: what is too much is not compared.
func TestLabelOfTooManyModels(t *testing.T) {
	t.Parallel()
	models, bad := parseModels(manyModels(modelsLimit+1) + "," + manyModels(300_000))
	if len(models) != modelsLimit+1 || bad != "" {
		t.Errorf("%d models, %q", len(models), bad)
	}
	if models, bad = parseModels(manyModels(modelsLimit) + ",," + manyModels(modelsLimit)); len(models) != modelsLimit || bad != "" {
		t.Errorf("twice: %d models, %q", len(models), bad)
	}
}
