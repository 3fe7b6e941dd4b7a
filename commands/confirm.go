package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"walt/consent"
	"walt/fault"
)

// answerTimeout is how long a question waits for its answer.
const answerTimeout = time.Minute

// withConsent calls do. When that would disturb others, it asks the user whether
// to do what the verb says all the same, and with a yes calls do again with what
// the user agreed to, until nothing is in the way.
func (c *Call) withConsent(ctx context.Context, verb string, do func(consent.Agreement) error) error {
	ask := func(contest *consent.Error) error { return c.askConsent(ctx, verb, contest) }
	_, err := consent.Seek(consent.Agreement{Whoever: c.on("yes")}, ask, do)
	return err
}

// askConsent shows what would be disturbed, and asks whether to do what the verb
// says all the same.
func (c *Call) askConsent(ctx context.Context, verb string, contest *consent.Error) error {
	if len(contest.Shown) > 0 {
		c.note("While you were asked, %s; nothing was done.", changesSince(contest.Shown, contest.Nodes))
	}
	c.showClaims(contest.Nodes)
	object := cmp.Or(contest.Nodes[0].Of, contest.Nodes[0].Node)
	for _, n := range contest.Nodes {
		if cmp.Or(n.Of, n.Node) != object {
			object = "them"
			break
		}
	}
	return c.ask(ctx, verb+" "+object+" anyway?")
}

// changesSince says what became of the nodes that were in the way of a request.
func changesSince(shown, now []consent.Claim) string {
	on := func(claims []consent.Claim, node string) int {
		return slices.IndexFunc(claims, func(n consent.Claim) bool { return n.Node == node })
	}
	var told []string
	for _, n := range now {
		if i := on(shown, n.Node); i < 0 {
			told = append(told, n.Node+" got in the way")
		} else if n.Owner != shown[i].Owner || !n.Since.Equal(shown[i].Since) {
			told = append(told, n.Node+" changed hands")
		}
	}
	for _, n := range shown {
		if on(now, n.Node) < 0 {
			told = append(told, n.Node+" is no longer in the way")
		}
	}
	return strings.Join(told, ", ")
}

// showClaims shows what a request would disturb.
func (c *Call) showClaims(claims []consent.Claim) {
	for _, n := range claims {
		if n.Owner == c.User {
			c.note("%s boots this image.", n.Node)
			continue
		}
		presence := "is not connected"
		if c.Online(n.Owner) {
			presence = "is connected now"
		}
		node := n.Node
		if n.Where != "" {
			node += " on " + n.Where
		}
		c.note("%s belongs to %s since %s (%s); %s %s.", node, n.Owner,
			n.Since.UTC().Format("2006-01-02 15:04 UTC"), ago(c.Now(), n.Since), n.Owner, presence)
	}
}

// ask returns nil when the user answers the question with yes.
func (c *Call) ask(ctx context.Context, question string) error {
	refused := fault.New(fault.InUse, "not confirmed; nothing changed")
	if c.on("no-input") {
		return refused.WithHint("--no-input never asks; --yes answers in advance (see: help show node-ownership)")
	}
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := c.Session.Ask(asking, c.fit(c.Session, question+" [y/N] "))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		fmt.Fprintln(c.Err)
		return refused.WithHint("no answer came; --yes answers in advance")
	case asking.Err() != nil:
		fmt.Fprintln(c.Err)
		return refused.WithHint("no answer came within %d s; --yes answers in advance", answerTimeout/time.Second)
	case err != nil:
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return refused
}

// askVisited asks whether to reboot free nodes on which users have sessions.
func (c *Call) askVisited(ctx context.Context, contest *consent.Error) error {
	var names []string
	for _, n := range contest.Nodes {
		c.note("%s is free, and %s has a session on it.", n.Node, n.Owner)
		names = append(names, n.Node)
	}
	return c.ask(ctx, "Reboot "+strings.Join(slices.Compact(names), ", ")+" anyway?")
}
