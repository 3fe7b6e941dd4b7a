package commands

import (
	"context"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

func nodeRetire(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	why, err := c.noteText()
	if err != nil {
		return err
	}
	var done []nodes.Device
	err = c.withConsent(ctx, "Retire", func(given consent.Agreement) error {
		done, err = c.Lab.Retire(ctx, c.User, set, why, given)
		return err
	})
	if err != nil {
		return err
	}
	var names []nodes.Name
	for _, d := range done {
		names = append(names, d.Name)
	}
	until := " out of service until: node return " + fault.Joined(names, ",")
	if fault.Many(names) { // the set may stand for others then
		until = " out of service until \"node return\""
	}
	c.sayOfEach(done, func(_ nodes.Device, several bool) string {
		if several {
			return "are" + until
		}
		return "is" + until
	})
	return nil
}

func nodeReturn(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	back, err := c.Lab.Return(ctx, c.User, set)
	if err != nil {
		return err
	}
	if len(back) == 0 {
		c.note("Nothing of %s is out of service.", set)
	}
	c.sayOfEach(back, func(_ nodes.Device, several bool) string {
		if several {
			return "are in service again"
		}
		return "is in service again"
	})
	return nil
}

// retired says who took a node out of service, when and why; "" of others.
func (c *Call) retired(r *nodes.Retired) string {
	if r == nil {
		return ""
	}
	s := "by " + string(r.By) + ", " + minute(r.Since) + " UTC"
	if r.Why != "" {
		s += ": " + r.Why
	}
	return s
}

// warnRetired tells of nodes that became the user's that they are out of service.
func (c *Call) warnRetired(changes []nodes.Change) {
	told := 0
	for _, ch := range changes {
		if ch.Retired == nil || ch.Image.User != c.User {
			continue
		}
		if told++; told <= fault.MostNames {
			c.note("%s was taken out of service %s.", ch.Node, c.retired(ch.Retired))
		}
	}
	if others := told - fault.MostNames; others > 0 {
		c.note("So were %d others; see: node show", others)
	}
}

// stateCell is the state of a node in a table.
func stateCell(s nodes.State, retired bool) string {
	if retired {
		return string(s) + ", retired"
	}
	return string(s)
}
