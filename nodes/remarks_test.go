package nodes

import (
	"strings"
	"testing"

	"walt/consent"
	"walt/images"
)

// Remarks are made in the transaction that makes a node the user's, stay while it is, and
// are gone when it is not.
func TestRemarks(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	said := Remarks{Job: "8812", Note: "until Monday"}
	_, err := l.Acquire(t.Context(), "bob", Only("n3"), said, consent.Agreement{})
	ok(t, err)
	holds := func(what string, want Remarks) {
		t.Helper()
		if got := l.device(t, "n3").Remarks(); got.Job != want.Job || got.Note != want.Note {
			t.Errorf("%s: the remarks are %+v, want %+v", what, got, want)
		}
	}
	holds("acquired", said)
	ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n3"), "m1-default", Remarks{Note: "until Friday"}, consent.Agreement{})))
	holds("left alone", Remarks{Job: "8812", Note: "until Friday"})
	l.image(t, images.Image{Ref: ref("bob/mine"), Digest: sum("mine"), Models: []images.Model{"m1"}})
	ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n3"), "mine", Remarks{Job: "8813"}, consent.Agreement{})))
	holds("boots another image", Remarks{Job: "8813", Note: "until Friday"})
	_, err = l.Rename(t.Context(), "bob", "n3", "n9", consent.Agreement{})
	ok(t, err)
	_, err = l.Rename(t.Context(), "bob", "n9", "n3", consent.Agreement{})
	ok(t, err)
	holds("renamed", Remarks{Job: "8813", Note: "until Friday"})
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n3"), Remarks{}, consent.Agreement{Whoever: true})))
	holds("taken", Remarks{})
	ok(t, errorOf(l.SetImage(t.Context(), "carol", Only("n3"), "default", Remarks{Job: "1", Note: "free"}, consent.Agreement{})))
	holds("free", Remarks{})
}

func TestParseJobAndNote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"8812", "a.b_C-9", strings.Repeat("x", 64)} {
		if _, err := ParseJob(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", strings.Repeat("x", 65), "a b", "a/b", "a:b", "ü", "a\n"} {
		if _, err := ParseJob(s); err == nil {
			t.Errorf("%q is no name of a job", s)
		}
	}
	if got, err := ParseNote("  größer\u00a0 "); got != "größer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ParseNote("until\u00a0noon\u3000日本"); got != "until noon 日本" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, s := range []string{strings.Repeat("x", 81), "a\nb", "a\x1b[31mb", "a\xff", "a\u202eb"} {
		if _, err := ParseNote(s); err == nil {
			t.Errorf("%q is no note", s)
		}
	}
}
