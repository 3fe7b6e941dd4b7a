package images

import (
	"strings"
	"testing"

	"walt/fault"
)

func mustLink(t testing.TB, s string) Link {
	t.Helper()
	l, err := ParseLink(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParseLink(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct{ path, tag, here string }{
		"walt:bob/debian":              {"bob/debian", "latest", "me/debian"},
		"walt:bob/debian:12":           {"bob/debian", "12", "me/debian:12"},
		"hub:library/debian:12.5-slim": {"library/debian", "12.5-slim", "me/debian:12-5-slim"},
		"hub:my_org/a__b":              {"my_org/a__b", "latest", "me/a--b"},
		"lab:team/project/rpi.os:v1_0": {"team/project/rpi.os", "v1_0", "me/project-rpi-os:v1-0"},
		"docker:localhost/x/default":   {"localhost/x/default", "latest", "me/x-default"},
		"docker:alice/default:X":       {"alice/default", "X", "me/default-image:x"},
		"docker:ghcr.io/a/b:_":         {"ghcr.io/a/b", "_", "me/a-b"},
		"lab:a/" + strings.Repeat("b-", 60) + "b:" + strings.Repeat("9", 90): {
			"a/" + strings.Repeat("b-", 60) + "b", strings.Repeat("9", 90),
			"me/" + strings.Repeat("b-", 31) + "b:" + strings.Repeat("9", 63),
		},
	} {
		l, err := ParseLink(in)
		if err != nil || l.Ref.repository() != want.path || l.Ref.Tag != want.tag {
			t.Errorf("%q is %q %q, %v", in, l.Ref.repository(), l.Ref.Tag, err)
		}
		here, changed := l.Suggest("me")
		if here.String() != want.here || changed != (here.Name != l.Ref.Name || here.Tag != l.Ref.Tag) {
			t.Errorf("%q is called %v here, want %v", in, here, want.here)
		}
	}
	for _, in := range []string{
		"", ":", "bob/debian", "walt:debian", "walt:bob/De", "walt:root/x", "walt:bob/a_b", "walt:bob/a/b", "lab:debian", "lab:/x", "lab:a/",
		"lab:a//b", "lab:a/../b", "lab:A/b", "lab:a/b:", "lab:a/b:x:y", "lab:a/b@sha256:0", "lab:a/b ", "LAB:a/b", "lab:a/b\n", "lab:a___b/c",
		"lab:a/" + strings.Repeat("b", 254), "lab:a/b:" + strings.Repeat("b", 129), "lab:a/b?x=1", "lab:a/%2e", "lab:127.0.0.1:5000/a/b",
	} {
		if l, err := ParseLink(in); fault.As(err) == nil || fault.As(err).Kind != fault.Usage {
			t.Errorf("%q is %v, %v, want a usage fault", in, l, err)
		}
	}
}

// Whatever is accepted survives being written and read, names nothing outside of
// its repository, and has a valid name here.
func FuzzParseLink(f *testing.F) {
	for _, s := range []string{"walt:bob/debian:12", "hub:library/a.b_c", "lab:a/b/c:V1", "docker:localhost/x", "lab:a/default", "x:a/../b:_", "lab:a/b:__"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		link, err := ParseLink(s)
		if err != nil {
			if fault.As(err) == nil {
				t.Fatalf("%q: not for users: %v", s, err)
			}
			return
		}
		if again, err := ParseLink(link.String()); err != nil || again != link {
			t.Errorf("%q: %q became %v, %v", s, link, again, err)
		}
		if strings.Contains(link.Ref.repository(), "..") || strings.ContainsFunc(link.Ref.Full(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q was accepted", s)
		}
		here, changed := link.Suggest("me")
		if parsed, err := ParseName("me", here.Short()); err != nil || parsed != here {
			t.Errorf("%q is called %v here: %v", s, here, err)
		}
		if link.Location == Here && changed {
			t.Errorf("%q, which is valid, became %v", s, here)
		}
	})
}

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"linux/arm/v7": "linux/arm/v7", "linux/arm": "linux/arm/v7", "linux/arm64/v8": "linux/arm64", "linux/amd64": "linux/amd64",
		"": "", "arm64": "", "windows/amd64": "", "linux/": "", "linux/arm/7": "",
	} {
		if got, ok := ParsePlatform(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, ok, want)
		}
	}
}
