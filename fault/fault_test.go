package fault

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

func TestAs(t *testing.T) {
	f := Failedf("no node %s", "rpi-3").WithHint("see %s", "node show")
	if got := As(fmt.Errorf("acquire: %w", f)); got != f {
		t.Errorf("As of a wrapped fault = %v", got)
	}
	if got := As(io.EOF); got != nil {
		t.Errorf("As of an internal error = %v", got)
	}
	if f.Kind != Failed || f.Error() != "no node rpi-3" || f.Hint != "see node show" {
		t.Errorf("fault %+v", f)
	}
	plain := Usagef("what?")
	if plain.WithHint("this"); plain.Hint != "" {
		t.Error("WithHint changed the fault that it was called on")
	}
	for err, want := range map[error]string{
		f: "no node rpi-3; see node show", plain: "what?", io.EOF: "EOF",
		fmt.Errorf("acquire: %w", f.WithHint("one\ntwo")): "acquire: no node rpi-3; one; two",
	} {
		if got := Line(err); got != want {
			t.Errorf("on one line it is %q, want %q", got, want)
		}
	}
	if errors.Is(New(InUse, "a"), New(InUse, "a")) {
		t.Error("two faults are the same error")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"rpi-1", "rpi-2", "rpi-10", "pc-1", "node show", "node acquire", "E1"}
	for _, test := range []struct {
		name string
		want []string
	}{
		{"rip-1", []string{"rpi-1"}},                    // swapped
		{"rpi-3", []string{"rpi-1", "rpi-2"}},           // the nearest, in their order
		{"rpi-100", []string{"rpi-10", "rpi-1"}},        // the nearest first
		{"node aquire", []string{"node acquire"}},       // a letter is missing
		{"node  show", []string{"node show"}},           // one too many
		{"node", []string{"node show", "node acquire"}}, // begun
		{"rpi", []string{"rpi-1", "rpi-2", "rpi-10"}},
		{"PC-1", []string{"pc-1"}}, // upper case
		{"e1", []string{"E1"}},
		{"p", nil},      // one letter is too little
		{"esp-32", nil}, // nothing near
		{"", nil},
	} {
		if got := Nearest(test.name, known); !slices.Equal(got, test.want) {
			t.Errorf("Nearest(%q) = %q, want %q", test.name, got, test.want)
		}
	}
	if got := Nearest("aa", []string{"ab", "ac", "ad", "ae"}); len(got) != 3 {
		t.Errorf("%d near misses", len(got))
	}
}

func TestUnknown(t *testing.T) {
	f := Unknown("node", []string{"rip-1", "esp"}, []string{"rpi-1"}, "see node show")
	if want := "unknown nodes rip-1, esp"; f.Msg != want || f.Kind != Failed {
		t.Errorf("%v: %q, want %q", f.Kind, f.Msg, want)
	}
	if want := "did you mean rpi-1 instead of rip-1?"; f.Hint != want {
		t.Errorf("hint %q, want %q", f.Hint, want)
	}
	if f := Unknown("node", []string{"esp"}, nil, "see node show"); f.Msg != "unknown node esp" || f.Hint != "see node show" {
		t.Errorf("one: %+v", f)
	}
}
