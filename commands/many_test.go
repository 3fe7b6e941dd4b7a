package commands

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/images"
	"walt/nodes"
)

// TestAlike shows a line for each of a few nodes, and one for many of which the same is
// to be said.
func TestAlike(t *testing.T) {
	t.Parallel()
	changes := func(n int) (all []nodes.Change) {
		for i := range n {
			ch := nodes.Change{Node: nodes.Name(fmt.Sprintf("n-%d", i)), Image: images.Ref{User: "bob", Name: "i", Tag: "latest"}, Reboot: nodes.Reboot{Outcome: nodes.RebootOK}}
			if i == 3 {
				ch.Image.User, ch.Reboot.Outcome = auth.Nobody, nodes.RebootNone
			}
			all = append(all, ch)
		}
		return all
	}
	c := &Call{Session: &Session{User: "bob"}}
	lines := func(n int) (all []string) {
		for _, some := range alike(changes(n), c.describeChange) {
			all = append(all, strings.Join(some.nodes, ",")+" "+c.describeChange(some.change, len(some.nodes) > 1))
		}
		return all
	}
	if got := lines(manyLines); len(got) != manyLines || got[0] != "n-0 is yours and boots i: rebooting" {
		t.Errorf("%d lines: %q", len(got), got)
	}
	got := lines(manyLines + 1)
	if len(got) != 2 || !strings.HasPrefix(got[0], "n-0,n-1,n-2,n-4,") || !strings.HasSuffix(got[0], ",n-20 are yours and boot i: rebooting") ||
		got[1] != "n-3 is free and boots its default image at its next start: the server has no means to reboot it" {
		t.Errorf("of many nodes: %q", got)
	}
}

// TestManyClaimsChanged says what changed while a user was asked about many nodes.
func TestManyClaimsChanged(t *testing.T) {
	t.Parallel()
	var shown, now []consent.Claim
	for i := range 30 {
		shown = append(shown, consent.Claim{Node: fmt.Sprintf("n-%d", i), Owner: "bob", Since: time.Unix(int64(i), 0)})
	}
	now = append(now, shown[1:]...)
	now[4].Owner = "carol"
	now = append(now, consent.Claim{Node: "n-30", Owner: "bob"})
	if got, want := changesSince(shown, now), "n-5 changed hands, n-30 got in the way, n-0 is no longer in the way"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
