package commands

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"walt/api"
	"walt/consent"
	"walt/nodes"
)

// settingArg is a setting of any device, or of nodes.
func settingArg(nodesOnly bool) Arg {
	return Arg{Name: "KEY[=VALUE]", Optional: true, Many: true, Complete: func(context.Context, *Call, string) (words []string) {
		for _, key := range nodes.SettingKeys(nodesOnly) {
			words = append(words, key+"=")
		}
		return words
	}}
}

// describeSettings lists which settings there are, and their values.
func describeSettings(nodesOnly bool) string {
	var b strings.Builder
	var rows [][]string
	for _, key := range nodes.SettingKeys(nodesOnly) {
		rows = append(rows, []string{"  " + key, nodes.AllowedValues(key)})
	}
	columns(&b, false, nil, rows)
	return b.String()
}

// config shows or changes the settings of the set that is the first argument.
func (c *Call) config(ctx context.Context, nodesOnly bool) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	want, keys, err := nodes.ParseAssignments(c.args[1:], nodesOnly)
	if err != nil {
		return err
	}
	if len(want) > 0 {
		if err := c.configure(ctx, set, nodesOnly, want); err != nil || !c.on("json") {
			return err
		}
	}
	all, err := c.Lab.Settings(ctx, c.User, set, nodesOnly, keys)
	switch {
	case err != nil:
		return err
	case c.on("json"):
		return c.print(api.NewSettings(all))
	}
	var rows [][]string
	for _, s := range all {
		value := cmp.Or(s.Value, "(not set)")
		if s.Secret {
			value = "(set, not shown)"
		}
		rows = append(rows, []string{string(s.Device), s.Key, value})
	}
	c.rows([]string{"NAME", "SETTING", "VALUE"}, rows)
	return nil
}

func (c *Call) configure(ctx context.Context, set nodes.Set, nodesOnly bool, want []nodes.Assignment) error {
	var done []nodes.Name
	err := c.withConsent(ctx, "Configure", func(given consent.Given) (err error) {
		done, err = c.Lab.Configure(ctx, c.User, set, nodesOnly, want, given)
		return err
	})
	if err != nil || c.on("json") {
		return err
	}
	for _, n := range done {
		fmt.Fprintf(c.Out, "%s is configured\n", n)
	}
	return nil
}
