package commands

import (
	"context"
	"fmt"

	"walt/consent"
	"walt/nodes"
)

var settingArg = Arg{Name: "KEY=VALUE", Optional: true, Many: true, Complete: completeSetting}

func completeSetting(_ context.Context, _ *Call, _ string) (words []string) {
	for _, key := range nodes.SettingKeys() {
		words = append(words, key+"=")
	}
	return words
}

func (c *Call) config(ctx context.Context, nodesOnly bool) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		all, err := c.Lab.Settings(ctx, c.User, set, nodesOnly)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{string(s.Device), s.Key, s.Value})
		}
		c.rows([]string{"NAME", "SETTING", "VALUE"}, rows)
		return nil
	}
	want, err := nodes.ParseAssignments(c.args[1:])
	if err != nil {
		return err
	}
	var done []nodes.Name
	err = c.withConsent(ctx, "Configure", func(given consent.Given) error {
		done, err = c.Lab.Configure(ctx, c.User, set, nodesOnly, want, given)
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range done {
		fmt.Fprintf(c.Out, "%s is configured\n", n)
	}
	return nil
}
