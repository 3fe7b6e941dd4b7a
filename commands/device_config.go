package commands

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"walt/api"
	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

// settingArg is a setting of any device, or of nodes.
func settingArg(nodesOnly bool) Arg {
	return Arg{Name: "KEY[=VALUE]", Optional: true, Many: true, Complete: func(ctx context.Context, c *Call, word string) (words []string) {
		key, value, valued := strings.Cut(word, "=")
		if !valued {
			for _, key := range nodes.SettingKeys(nodesOnly) {
				words = append(words, key+"=")
			}
			return words
		}
		switch key {
		case "expose":
			return []string{"none"}
		case "model":
			return completeModel(ctx, c, value)
		case "power":
			return completePower(c, value)
		case "power.first":
			return []string{"soft", "hard"}
		case "switch":
			return append(completeName(ctx, c, nodes.Switch, value), "none")
		}
		return nil
	}}
}

// describeSettings lists which settings there are, and their values.
func describeSettings(nodesOnly bool) string {
	var b strings.Builder
	var rows [][]string
	for _, key := range nodes.SettingKeys(nodesOnly) {
		rows = append(rows, []string{"  " + key, nodes.AllowedValues(key)})
	}
	columns(&b, table{}, false, nil, rows)
	return b.String()
}

// config shows or changes the settings of the set that is the first argument.
func (c *Call) config(ctx context.Context, nodesOnly bool) error {
	if nodes.SettingFirst(c.arg(0)) {
		return c.withUsage(fault.Usagef("%s: SET is missing, which comes before settings", c.cmd.Path))
	}
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	want, keys, err := nodes.ParseAssignments(c.args[1:], func() []string { return c.settingsOf(ctx, set, nodesOnly) })
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
		return listed(c, "settings", nil, all.Each(ctx), api.NewSetting)
	}
	outline := all.Outline()
	if c.width() > 0 { // what is wider is broken
		outline = all.Each(ctx)
	}
	return tabled(c, []string{"NAME", "SETTING", "VALUE"}, nil, outline, all.Each(ctx), func(row []string, s *nodes.Setting) []string {
		value := cmp.Or(s.Value, "(not set)")
		if s.Secret {
			value = "(set, not shown)"
		}
		if s.Note != "" {
			value += " (" + s.Note + ")"
		}
		return append(row, string(s.Device), s.Key, value)
	}, func(*nodes.Setting) {})
}

// settingsOf are the keys of those that a device of the set has; of all that there are
// when there is none, or one that may become a switch.
func (c *Call) settingsOf(ctx context.Context, set nodes.Set, nodesOnly bool) (keys []string) {
	every := nodes.SettingKeys(nodesOnly)
	all, err := c.Lab.Settings(ctx, c.User, set, nodesOnly, nil)
	if err != nil {
		return every
	}
	had := map[string]bool{}
	for s, err := range all.Each(ctx) {
		if err != nil || s.Key == "type" && s.Value != string(nodes.Switch) {
			return every
		}
		had[s.Key] = true
	}
	if len(had) == 0 {
		return every
	}
	return slices.DeleteFunc(every, func(key string) bool { return !had[key] })
}

func (c *Call) configure(ctx context.Context, set nodes.Set, nodesOnly bool, want []nodes.Assignment) error {
	var done []nodes.Name
	err := c.withConsent(ctx, "Configure", func(given consent.Agreement) (err error) {
		done, err = c.Lab.Configure(ctx, c.User, set, nodesOnly, want, given)
		return err
	})
	if err != nil {
		return err
	}
	switch modelled := slices.ContainsFunc(want, func(a nodes.Assignment) bool { return a.Key == "model" }); {
	case c.on("json"):
	case modelled:
		now, err := c.Lab.Named(ctx, done)
		if err != nil {
			return err
		}
		for _, d := range now {
			c.sayWhatIs(*d.Device)
		}
	default:
		for _, n := range done {
			c.say("%s is configured", n)
		}
	}
	if slices.ContainsFunc(want, func(a nodes.Assignment) bool { return a.Key == "power" }) {
		if err := c.noteFedWith(ctx, done); err != nil {
			return err
		}
	}
	about := []string{"poe.reboots", "switch", "port", "power"}
	if slices.ContainsFunc(want, func(a nodes.Assignment) bool { return slices.Contains(about, a.Key) }) {
		return c.noteDue(ctx, done)
	}
	return nil
}

// noteFedWith tells what else the outlets of nodes feed, and what follows from that.
func (c *Call) noteFedWith(ctx context.Context, among []nodes.Name) error {
	all, err := c.Lab.FedWith(ctx, among)
	for _, f := range all {
		c.note("%s also feeds %s: it is never switched off to save power, \"node off\" takes all that it feeds together, and \"node reboot --hard\" asks first.",
			f.Shared, fault.Few(f.Others))
	}
	return err
}

// noteDue tells which nodes among the devices, and on the ports of those that are
// switches, are switched off to save power, and when.
func (c *Call) noteDue(ctx context.Context, among []nodes.Name) error {
	due, err := c.Lab.Due(ctx, among)
	const form = "2006-01-02 15:04 UTC"
	for len(due) > 0 {
		first := due[0].At.UTC() // those of the same minute are told together
		var names []nodes.Name
		for len(due) > 0 && due[0].At.UTC().Format(form) == first.Format(form) {
			names, due = append(names, nodes.Name(due[0].Node)), due[1:]
		}
		slices.SortFunc(names, nodes.Name.Compare)
		c.note("Free, and switched off to save power at %s (%s) unless used before: %s", first.Format(form), in(c.Now(), first), fault.Joined(names, ", "))
	}
	return err
}

// completePower offers what may power a node, behind a + outlets alone.
func completePower(c *Call, value string) []string {
	outlets := c.Lab.Ports.OutletBeginnings()
	if strings.Contains(value, "+") {
		return outlets
	}
	return append(outlets, "poe", "none", "wol")
}
