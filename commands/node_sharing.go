package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walt/api"
	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

func nodeNote(ctx context.Context, c *Call) error {
	note, err := c.noteText()
	if err != nil {
		return err
	}
	return c.remarkOn(ctx, func(set nodes.Set) ([]nodes.Name, error) { return c.Lab.Note(ctx, c.User, set, note) }, func(several bool) string {
		switch {
		case note != "":
			return fmt.Sprintf("%s the note %q", hasOrHave(several), note)
		}
		return hasOrHave(several) + " no note any more"
	})
}

func nodeShare(ctx context.Context, c *Call) error {
	mates, err := nodes.ParseMates(c.arg(1))
	if err != nil {
		return err
	}
	return c.remarkOn(ctx, func(set nodes.Set) ([]nodes.Name, error) { return c.Lab.Share(ctx, c.User, set, mates) }, func(several bool) string {
		is := "is"
		if several {
			is = "are"
		}
		return is + " shared with " + nodes.SharedWith(mates)
	})
}

func hasOrHave(several bool) string {
	if several {
		return "have"
	}
	return "has"
}

// noteText is the rest of the line behind SET, as it was typed, as a note.
func (c *Call) noteText() (string, error) {
	if len(c.args) < 2 {
		return "", nil
	}
	if err := c.optionIn(1); err != nil {
		return "", err
	}
	return nodes.ParseNote(c.rest(1))
}

// remarkOn has nodes of the set that is the first argument say something else, and tells what
// became of them; with --json as "node show" does.
func (c *Call) remarkOn(ctx context.Context, do func(nodes.Set) ([]nodes.Name, error), became func(several bool) string) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	done, err := do(set)
	if err != nil {
		return err
	}
	if c.on("json") {
		now, err := c.Lab.Named(ctx, done)
		if err != nil {
			return err
		}
		doc := api.Nodes{Nodes: []api.Node{}}
		for _, n := range now {
			doc.Nodes = append(doc.Nodes, api.NewNode(&n))
		}
		return c.print(doc)
	}
	c.say("%s %s", fault.Few(done), became(len(done) > 1))
	return nil
}

func nodeAsk(ctx context.Context, c *Call) error {
	text, err := c.noteText()
	if err != nil {
		return err
	}
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	asked, err := c.Lab.Ask(ctx, c.User, set, text)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewAsks(asked))
	}
	for len(asked) > 0 {
		first := asked[0]
		var same []nodes.Name
		asked = slices.DeleteFunc(asked, func(a nodes.Asked) bool {
			like := a.Owner == first.Owner && a.Told == first.Told && (a.Told || a.Since.Equal(first.Since))
			if like {
				same = append(same, a.Node)
			}
			return like
		})
		switch which := fault.Few(same); {
		case !first.Told:
			c.say("%s was told %s that you ask for %s: left alone", first.Owner, ago(c.Now(), first.Since), which)
		case c.Online(first.Owner):
			c.say("%s, who is connected now, is told that you ask for %s", first.Owner, which)
		default:
			c.say("%s is told at the next login that you ask for %s", first.Owner, which)
		}
	}
	return nil
}

func nodeGive(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	to, err := auth.ParseName(c.arg(1))
	if err != nil {
		return err
	}
	for {
		result, err := c.Lab.Give(ctx, c.User, set, to, c.on("no-reboot"))
		if missing, is := errors.AsType[*nodes.NotAsked](err); is {
			if err := c.offer(ctx, missing); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		return c.showResult(ctx, result)
	}
}

// offer has a user who is connected ask for nodes that are to be the user's.
func (c *Call) offer(ctx context.Context, missing *nodes.NotAsked) error {
	names := missing.Nodes
	refused := fault.New(fault.InUse, "%s did not ask for %s; nothing changed", missing.To, fault.Few(names)).
		WithHint("for that %s types \"node ask %s\"", missing.To, fault.Joined(names, ","))
	if c.on("no-input") || fault.Many(names) || !c.Online(missing.To) {
		return refused
	}
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	waiting, cancel = context.WithTimeout(waiting, answerTimeout)
	defer cancel()
	c.note("%s is asked in every open shell, and agrees with \"node ask %s\" within a minute.", missing.To, fault.Joined(names, ","))
	err := c.Lab.Offer(waiting, c.User, missing)
	switch why := fault.As(context.Cause(waiting)); {
	case err == nil || ctx.Err() != nil:
		return err
	case why != nil: // the server stops
		return why
	case errors.Is(err, context.DeadlineExceeded):
		return refused
	}
	return err
}
