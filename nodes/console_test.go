package nodes

import (
	"context"
	"slices"
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
)

func TestLastLines(t *testing.T) {
	t.Parallel()
	for written, want := range map[string][]string{
		"":                  nil,
		"\n\n \r\n":         nil,
		"one":               {"one"},
		"one\r\ntwo\r\n":    {"one", "two"},
		"10 %\r50 %\r100 %": {"100 %"},
		"\x1bc\x1b[?7l\x1b[2Jwalt:\x1b[1;31m red\x1b[0m\x07\n": {"walt: red"},
		"\x1b]0;title\x07text\x1b":                             {"text"},
		"\xff\xfe\u202eevil\u0085\n":                           {"?evil"},
		strings.Repeat("x", 300):                               {strings.Repeat("x", 200) + "..."},
		strings.Repeat("a\n", 50) + "b\n":                      append(slices.Repeat([]string{"a"}, 9), "b"),
	} {
		if got := lastLines([]byte(written)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", written, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	if got := Plain("\x1b[1mno\troot\n\u009b\u202e\xff, \u00fc"); got != "[1mno root \ufffd, \u00fc" {
		t.Errorf("got %q", got)
	}
}

// speaking is a grid whose nodes have a console.
type speaking struct {
	*grid
	wrote string
}

func (s *speaking) Console(Name) []byte { return []byte(s.wrote) }

// The console of a node that is not up is shown to whose image it booted and to
// administrators, and to all of a free one; so is what the log has of a boot that failed.
func TestConsole(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	host := &speaking{grid: l.grid, wrote: "secret\r\n"}
	l.Hosts[Simulated] = host
	sees := func(who string, want ...string) {
		t.Helper()
		user, admin := strings.CutSuffix(who, " the administrator")
		d, err := l.Detail(t.Context(), auth.Name(user), admin, l.state(t, "v1"))
		ok(t, err)
		equal(t, who, d.Console, want...)
	}
	l.comeUp(t, "v1")
	sees("bob")
	l.Failed("v1", fault.Failedf("no root"))
	sees("bob", "secret")
	sees("alice the administrator", "secret")
	sees("carol")
	reads := func(who string, want ...string) {
		t.Helper()
		user, admin := strings.CutSuffix(who, " the administrator")
		var told []string
		ok(t, l.Journal.History(t.Context(), journal.Mark{}, journal.At(l.Now().Add(1e9)), nil, journal.Each(func(e journal.Event) error {
			told = append(told, Readable(e, auth.User{Name: auth.Name(user), Admin: admin}).Lines...)
			return nil
		})))
		equal(t, who+" in the log", told, want...)
	}
	reads("bob", "secret")
	reads("alice the administrator", "secret")
	reads("carol")
	_, err := l.SetImage(t.Context(), "carol", parse("v1"), "default", Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	sees("carol") // it did not start since
	_, err = l.Boot(context.Background(), "v1")
	ok(t, err)
	host.wrote = "free\r\n"
	sees("carol", "free")
	sees("bob", "free")
	l.Failed("v1", fault.Failedf("no root"))
	reads("bob", "secret", "free") // the first of them is still of its boot then
	reads("carol", "free")
	reads("alice the administrator", "secret", "free")
}
