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

	"github.com/dustin/go-humanize/english"

	"walt/auth"
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
	_, err := consent.Seek(consent.Agreement{Whoever: c.on("yes")}, ask, func(given consent.Agreement) error {
		defer c.showPending()()
		return do(given)
	})
	return err
}

// askConsent shows what would be disturbed, and asks whether to do what the verb
// says all the same.
func (c *Call) askConsent(ctx context.Context, verb string, contest *consent.Error) error {
	if len(contest.Shown) > 0 {
		c.note("While you were asked, %s; nothing was done.", changesSince(contest.Shown, contest.Nodes))
	}
	c.showClaims(contest.Nodes)
	return c.ask(ctx, verb+" "+objectOf(contest.Nodes)+" anyway?")
}

// objectOf is what of a request the claims are about. What hangs on the outlets of others has no
// line of its own, and is named.
func objectOf(claims []consent.Claim) string {
	var objects []string
	hangs := false
	for _, n := range claims {
		hangs = hangs || n.Becomes != ""
		for object := range strings.SplitSeq(cmp.Or(n.Of, n.Node), ", ") {
			if !slices.Contains(objects, object) {
				objects = append(objects, object)
			}
		}
	}
	if len(objects) > 1 && !hangs { // the first of them may have left the screen
		return fmt.Sprintf("all %d", len(objects))
	}
	return fault.Few(objects)
}

// changesSince says what became of the nodes that were in the way of a request.
func changesSince(shown, now []consent.Claim) string {
	before, left := map[string]consent.Claim{}, map[string]bool{}
	for _, n := range shown {
		before[n.Node], left[n.Node] = n, true
	}
	var told []string
	for _, n := range now {
		delete(left, n.Node)
		if was, known := before[n.Node]; !known {
			told = append(told, n.Node+" got in the way")
		} else if n.Owner != was.Owner || !n.Since.Equal(was.Since) {
			told = append(told, n.Node+" changed hands")
		} else if n.Note != was.Note {
			told = append(told, n.Node+" got another note")
		} else if n.Becomes != was.Becomes {
			told = append(told, n.Node+" hangs on other outlets")
		}
	}
	for _, n := range shown {
		if left[n.Node] {
			told = append(told, n.Node+" is no longer in the way")
		}
	}
	return fault.Few(told)
}

// showClaims shows what a request would disturb, of many nodes how many each owner has.
func (c *Call) showClaims(claims []consent.Claim) {
	if len(claims) > manyLines {
		c.showOwners(claims)
		return
	}
	for _, n := range claims {
		switch {
		case n.Becomes == "":
		case n.Owner == c.User:
			c.note("%s %s: it is yours.", n.Node, n.Becomes)
			continue
		case n.Owner == auth.Nobody, n.Owner == "":
			c.note("%s %s: it is nobody's.", n.Node, n.Becomes)
			continue
		}
		if n.Owner == c.User || n.Uses != "" {
			c.note("%s %s.", n.Node, cmp.Or(n.Uses, "boots this image"))
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
		if n.Becomes != "" {
			node += " " + n.Becomes + ": it"
		}
		c.note("%s belongs to %s since %s (%s)%s; %s %s.", node, n.Owner,
			n.Since.UTC().Format("2006-01-02 15:04 UTC"), ago(c.Now(), n.Since), noteOf(n), n.Owner, presence)
	}
}

// noteOf is what the owner of a node notes of it, in a sentence about that. It is in quotes,
// which nothing in it can end: it speaks for its writer alone.
func noteOf(n consent.Claim) string {
	if n.Note == "" {
		return ""
	}
	return fmt.Sprintf(" with the note %q", n.Note)
}

// showOwners shows whom a request would disturb, in the order of their first nodes, those
// with the same note together.
func (c *Call) showOwners(claims []consent.Claim) {
	type group struct {
		owner auth.Name
		note  string
	}
	var groups []group
	nodes := map[group][]string{}
	for _, n := range claims {
		g := group{n.Owner, noteOf(n)}
		if nodes[g] == nil {
			groups = append(groups, g)
		}
		nodes[g] = append(nodes[g], n.Node)
	}
	for _, g := range groups {
		who := fmt.Sprintf("to %s, who is not connected", g.owner)
		switch {
		case g.owner == c.User:
			who = "to you"
		case g.owner == auth.Nobody, g.owner == "":
			who = "to nobody"
		case c.Online(g.owner):
			who = fmt.Sprintf("to %s, who is connected now", g.owner)
		}
		c.note("%s %s%s: %s.", english.Plural(len(nodes[g]), "node belongs", "nodes belong"), who, g.note, fault.Few(nodes[g]))
	}
	if slices.ContainsFunc(claims, func(n consent.Claim) bool { return n.Becomes != "" }) {
		c.note("What hangs on the same outlets is switched with it.")
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
	return c.ask(ctx, "Reboot "+fault.Few(slices.Compact(names))+" anyway?")
}
