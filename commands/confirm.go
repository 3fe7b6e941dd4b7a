package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func (c *Call) withConsent(ctx context.Context, verb string, do func(consent.Given) error) error {
	_, err := c.withFormerConsent(ctx, consent.Given{Whoever: c.on("yes")}, verb, do)
	return err
}

// withFormerConsent is withConsent for a user who agreed to something before. It
// returns all that the user has agreed to.
func (c *Call) withFormerConsent(ctx context.Context, given consent.Given, verb string, do func(consent.Given) error) (consent.Given, error) {
	for {
		err := do(given)
		contest, ok := errors.AsType[*consent.Error](err)
		if !ok {
			return given, err
		}
		if contest.Changed {
			c.note("Ownership changed while you were asked; nothing was done.")
		}
		c.showContested(contest.Nodes)
		object := "them"
		if len(contest.Nodes) == 1 {
			object = string(contest.Nodes[0].Node)
		}
		if err := c.ask(ctx, verb+" "+object+" anyway?"); err != nil {
			return given, err
		}
		given.Shown = contest.Nodes
	}
}

// showContested shows what a request would disturb.
func (c *Call) showContested(contested []consent.Contested) {
	for _, n := range contested {
		if n.Owner == c.User {
			c.note("%s boots this image.", n.Node)
			continue
		}
		presence := "is not connected"
		if c.Online(n.Owner) {
			presence = "is connected now"
		}
		c.note("%s belongs to %s since %s (%s); %s %s.", n.Node, n.Owner,
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
	answer, err := c.Session.Ask(asking, question+" [y/N] ")
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
