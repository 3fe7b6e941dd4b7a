package images

import (
	"encoding/json"
	"strings"
	"testing"

	"walt/auth"
	"walt/fault"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for in, short := range map[string]string{
		"debian":                "debian",
		"debian:latest":         "debian",
		"debian:12":             "debian:12",
		"a":                     "a",
		"0-0":                   "0-0",
		"default-2":             "default-2",
		strings.Repeat("a", 63): strings.Repeat("a", 63),
	} {
		ref, err := ParseName("bob", in)
		if err != nil || ref.Short() != short {
			t.Errorf("ParseName(%q) = %q, %v, want %q", in, ref.Short(), err, short)
		}
	}
	for _, in := range []string{
		"", ":", "foo:", ":foo", "a:b:c", "Foo", "a_b", "-a", "a-", "a\n", "\na", "a/b", "a.b", "é", "default", "default:1",
		strings.Repeat("a", 64), "a:" + strings.Repeat("b", 64),
	} {
		ref, err := ParseName("bob", in)
		if f := fault.As(err); f == nil || f.Kind != fault.Usage || f.Hint == "" {
			t.Errorf("ParseName(%q) = %v, %v, want a usage fault with a hint", in, ref, err)
		}
	}
}

// What is shown for images of others leads to them, in each form.
func TestParseOwn(t *testing.T) {
	t.Parallel()
	if ref, err := ParseOwn("bob", "debian:12"); err != nil || ref != (Ref{"bob", "debian", "12"}) {
		t.Errorf("its name: %v, %v", ref, err)
	}
	for in, hint := range map[string]string{
		"walt:bob/debian:12":      "call it by its name alone: debian:12",
		"bob/debian":              "call it by its name alone: debian",
		"walt:carol/debian":       "clone it first: image clone walt:carol/debian NAME",
		"carol/debian:12":         "clone it first: image clone walt:carol/debian:12 NAME",
		"waltplatform/m1-default": "clone it first: image clone walt:waltplatform/m1-default NAME",
		"docker:bob/debian":       "clone it first: image clone docker:bob/debian NAME",
		"hub:library/a_b.c:1.2":   "clone it first: image clone hub:library/a_b.c:1.2 NAME",
		"Bob/debian":              "with an optional :tag",
		"walt:bob/debian:12:3":    "with an optional :tag",
		"https://example.org/a/b": "with an optional :tag",
		"default":                 "stands for the default image",
	} {
		ref, err := ParseOwn("bob", in)
		if f := fault.As(err); f == nil || f.Kind != fault.Usage || !strings.Contains(f.Hint, hint) {
			t.Errorf("ParseOwn(%q) = %v, %+v, want the hint %q", in, ref, f, hint)
		}
	}
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Ref{
		"bob/debian":                    {"bob", "debian", "latest"},
		"waltplatform/pc-default:12":    {auth.Nobody, "pc-default", "12"},
		"waltplatform/rpi-3-b-default":  DefaultRef("rpi-3-b"),
		"waltplatform/x-default:latest": DefaultRef("x"),
	} {
		if ref, err := ParseRef(in); err != nil || ref != want {
			t.Errorf("ParseRef(%q) = %v, %v, want %v", in, ref, err, want)
		}
	}
	for _, in := range []string{"", "/", "debian", "bob/", "/debian", "root/debian", "Bob/debian", "a/b/c", "bob/debian:", "walt/x"} {
		if ref, err := ParseRef(in); fault.As(err) == nil {
			t.Errorf("ParseRef(%q) = %v, %v, want a fault", in, ref, err)
		}
	}
}

func TestZeroRefIsText(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Ref{})
	if err != nil || string(b) != `""` {
		t.Fatalf("got %s, %v", b, err)
	}
	ref := Ref{"x", "y", "z"}
	if err := json.Unmarshal(b, &ref); err != nil || !ref.IsZero() {
		t.Errorf("got %v, %v", ref, err)
	}
}

// Whatever is accepted survives being written and read, as text and for people.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"bob/debian", "bob/debian:12", "waltplatform/pc-x86-64-default", "a/b:latest", "a:b/c", "default", "x/y\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseRef(s)
		if err != nil {
			if fault.As(err) == nil {
				t.Fatalf("%q: not for users: %v", s, err)
			}
			return
		}
		for _, text := range []string{ref.String(), ref.Full()} {
			if again, err := ParseRef(text); err != nil || again != ref {
				t.Errorf("%q: %q became %v, %v", s, text, again, err)
			}
		}
		if again, err := ParseName(ref.User, ref.Short()); err != nil || again != ref {
			t.Errorf("%q: %q became %v, %v", s, ref.Short(), again, err)
		}
		var again Ref
		b, err := ref.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(b); err != nil || again != ref {
			t.Errorf("%q: %s became %v, %v", s, b, again, err)
		}
		link, err := ParseLink(Link{Here, ref}.String())
		if err != nil || link.Ref != ref || link.Location != Here {
			t.Errorf("%q: its link became %v, %v", s, link, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"debian", "debian:12", "default", "a:b:c", ":x", "x:", "a-\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseName("bob", s)
		if err != nil {
			return
		}
		if s != ref.Short() && s != ref.Short()+":"+latest {
			t.Errorf("%q was accepted as %q", s, ref.Short())
		}
		if strings.ContainsFunc(ref.Full(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q was accepted", s)
		}
	})
}
