package commands

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"walt/api"
	"walt/consent"
	"walt/ethernet"
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

func deviceRescan(ctx context.Context, c *Call) error {
	expression := c.arg(0)
	if expression == "" {
		expression = "explorable-switches"
	}
	set, err := nodes.ParseSet(expression)
	if err != nil {
		return err
	}
	told, links, err := c.Lab.Rescan(ctx, c.User, set)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.To.IsZero() {
			c.say("%s is no longer connected to its port", l.Device)
			continue
		}
		c.say("%s is connected to %s", l.Device, l.Where)
	}
	var moved []nodes.Name
	for _, l := range links {
		moved = append(moved, nodes.Name(l.Device))
	}
	if err := c.noteDue(ctx, moved); err != nil {
		return err
	}
	var failed []string
	for _, e := range told {
		if f := fault.As(e.Err); f != nil {
			failed = append(failed, f.Msg)
		} else if e.Err != nil {
			return e.Err
		} else {
			c.note("%s sees %s, %d of them of no device here.", e.Switch, count(e.Seen, "MAC address"), e.Strange)
		}
	}
	if len(failed) > 0 {
		return fault.Failedf("not asked: %s", strings.Join(failed, "; ")).WithHint("what the others told is noted; see: help show power")
	}
	return nil
}

func deviceTree(ctx context.Context, c *Call) error {
	found, err := c.Lab.AllDevices(ctx)
	if err != nil {
		return err
	}
	t := tree{out: bufio.NewWriterSize(c.Out, bufferSize), below: map[ethernet.MAC][]nodes.DeviceStatus{}, drawn: map[nodes.Name]bool{}}
	var switches []nodes.DeviceStatus
	for d, err := range found.Each(ctx) {
		if err != nil {
			return err
		}
		if !d.Port.IsZero() {
			t.below[d.Port.Switch] = append(t.below[d.Port.Switch], *d)
		}
		if d.Kind == nodes.Switch {
			switches = append(switches, *d)
		}
	}
	for _, connected := range []bool{false, true} { // those that are left then are connected in a circle
		for _, d := range switches {
			if connected != d.Port.IsZero() && !t.drawn[d.Name] {
				if err := t.draw(ctx, d, "", ""); err != nil {
					return err
				}
			}
		}
	}
	loose, err := t.loose(found.Each(ctx))
	if err != nil {
		return err
	}
	if !loose && len(t.drawn) == 0 {
		c.note("There is no device on a port. Add a switch with: device add NAME --mac MAC, then device config NAME type=switch (see: help show power)")
	}
	return t.out.Flush()
}

// tree is what is connected to the ports of each switch.
type tree struct {
	out   *bufio.Writer
	below map[ethernet.MAC][]nodes.DeviceStatus
	drawn map[nodes.Name]bool
}

// draw writes a device and what is connected to it; indent stands before the latter.
func (t tree) draw(ctx context.Context, d nodes.DeviceStatus, before, indent string) error {
	t.drawn[d.Name] = true
	if _, err := t.out.WriteString(before + twig(&d)); err != nil || d.Kind != nodes.Switch {
		return err
	}
	var below []nodes.DeviceStatus
	for _, b := range t.below[d.MAC] {
		if !t.drawn[b.Name] {
			below = append(below, b)
		}
	}
	byPort(below)
	for i, b := range below {
		more, last := "│  ", i == len(below)-1
		if last {
			more = "   "
		}
		if err := t.draw(ctx, b, indent+branch(last)+portLabel(b.Port.Number, &b.PortName)+": ", indent+more); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// loose writes the devices that were not drawn, and reports whether there are any.
func (t tree) loose(found iter.Seq2[*nodes.DeviceStatus, error]) (any bool, err error) {
	waits := "" // until it is known whether another one follows
	for d, err := range found {
		switch {
		case err != nil:
			return any, err
		case t.drawn[d.Name] || d.Virtual():
			continue
		case any:
			_, err = t.out.WriteString(branch(false) + waits)
		default:
			_, err = t.out.WriteString("on no known port\n")
		}
		if err != nil {
			return any, err
		}
		any, waits = true, twig(d)
	}
	if any {
		_, err = t.out.WriteString(branch(true) + waits)
	}
	return any, err
}

// twig is the line of a device.
func twig(d *nodes.DeviceStatus) string {
	return string(d.Name) + " (" + string(d.Kind) + ", " + string(d.State) + ")\n"
}

// portLabel is the number of a port and what its switch calls it, if that is known.
func portLabel(number int, name *string) string {
	if name == nil || *name == "" {
		return strconv.Itoa(number)
	}
	return fmt.Sprintf("%d (%s)", number, *name)
}

func branch(last bool) string {
	if last {
		return "└─ "
	}
	return "├─ "
}

func byPort(ds []nodes.DeviceStatus) {
	slices.SortStableFunc(ds, func(a, b nodes.DeviceStatus) int { return cmp.Compare(a.Port.Number, b.Port.Number) })
}

func powerCommands() []Command {
	return []Command{{
		Path: "power show", Short: "show what powers nodes, and what was saved", Topic: "power",
		Long: `Shows the switch ports that the server may switch, and the nodes that outlets
of power drivers feed, whether they are to have power (POWER), and whether they
have it as the switch or device says now (STATE), which is asked for 4 s at
most; for how long ports have been off so far, all added up; and the virtual
nodes that are machines, or are switched off. With a set it shows the ports of
these nodes and switches, and these virtual nodes, alone.`,
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeDeviceSet}},
		Flags: []Flag{jsonFlag},
		Run:   powerShow,
	}}
}

func powerShow(ctx context.Context, c *Call) error {
	report, err := c.Lab.PowerReport(ctx)
	if err != nil {
		return err
	}
	none := "The server knows no port that it may switch. See: help show power"
	if len(c.args) > 0 {
		set, err := nodes.ParseSet(c.arg(0))
		if err != nil {
			return err
		}
		found, _, err := c.Lab.Devices(ctx, c.User, set)
		if err != nil {
			return err
		}
		among := map[string]bool{}
		for d := range found.Found() {
			among[string(d.Name)] = true
		}
		all := report.Ports
		report.Ports = nil
		for _, p := range all {
			if among[p.Node] || among[p.Switch] {
				report.Ports = append(report.Ports, p)
			}
		}
		none = "The server knows no port of these that it may switch. See: help show power"
	}
	if c.fancy() && len(report.Ports) > 0 {
		c.fleeting("Asking what power they have ...")
	}
	c.Lab.LookAtPower(ctx, &report)
	if c.fancy() && len(report.Ports) > 0 {
		c.wipe()
	}
	if c.on("json") {
		return c.print(api.NewPower(report))
	}
	var cells [][]string
	for _, p := range report.Ports {
		where := cmp.Or(p.Outlet, "-")
		if p.Switch != "" {
			where = portLabel(p.Number, &p.Name)
		}
		cells = append(cells, []string{cmp.Or(p.Switch, "-"), where, cmp.Or(p.Node, "-"), p.Power, cmp.Or(p.State, "-"), ago(c.Now(), p.Since), p.Trouble(func(t time.Time) string { return ago(c.Now(), t) })})
	}
	if len(cells) == 0 {
		c.note("%s", none)
	} else {
		c.rows([]string{"SWITCH", "PORT", "NODE", "POWER", "STATE", "SINCE", "TROUBLE"}, cells)
	}
	c.say("Saved so far: %.1f port-hours", report.Saved.Hours())
	return nil
}
