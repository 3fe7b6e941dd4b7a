package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// deviceCommands is what there is to do with devices.
func deviceCommands() []Command {
	confirms := []Flag{yesFlag, noInputFlag}
	return []Command{{
		Path: "device show", Also: []string{"device list", "device ls"}, Short: "show the devices of the lab", Topic: "device-sets",
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeDeviceSet}},
		Flags: []Flag{namesFlag, jsonFlag},
		Run:   deviceShow,
	}, {
		Path: "device add", Short: "register a device", Topic: "device-sets",
		Long: `Registers a device by its MAC address. One with a model is a node: free at once
when the default image of the model is here, else as soon as that was
downloaded, which goes on in the background. One without a model stays unknown;
"device config NAME model=MODEL" tells it later.`,
		Args: []Arg{{Name: "NAME"}},
		Flags: []Flag{
			{Name: "mac", Value: "MAC", Usage: "its MAC address"},
			{Name: "model", Value: "MODEL", Usage: "its model, as in rpi-3-b", Complete: completeModel},
		},
		Run: deviceAdd,
	}, {
		Path: "device rename", Also: []string{"device mv"}, Short: "give a device another name",
		Args: []Arg{{Name: "OLD", Complete: completeDevice}, {Name: "NEW"}}, Flags: confirms,
		Run: renameDevice,
	}, {
		Path: "device forget", Also: []string{"device remove", "device rm", "device delete"}, Short: "remove devices that are gone from the lab",
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeRecorded}},
		Flags: append(slices.Clone(confirms), Flag{Name: "unknown", Usage: "all of unknown model, and those that came and never booted"}),
		Run:   forgetDevices,
	}, {
		Path: "device config", Short: "show or change settings of devices", Topic: "power",
		Long: `Shows the settings of the devices, all or those that are named, or gives them
the ones that are named with a value: all of them, or none when one is not
allowed. "type=switch" makes a switch of an unknown device. What must stay
secret is never shown; with a shell in front of ssh, quote what has special
characters.

` + describeSettings(false),
		Args: []Arg{{Name: "SET", Complete: completeRecorded}, settingArg(false)}, Flags: append(confirms, jsonFlag),
		Run: func(ctx context.Context, c *Call) error { return c.config(ctx, false) },
	}, {
		Path: "device tag", Short: "mark devices with tags", Topic: "device-sets",
		Long: `Marks the devices of the set with words of your own choice: "tag:lora" is the
set of those that are marked lora. A tag stays with the device, whoever owns it,
until "device untag"; everybody sees it, and may change it.`,
		Args: []Arg{{Name: "SET", Complete: completeRecorded}, {Name: "TAG", Many: true, Complete: completeTag}},
		Run:  deviceTag,
	}, {
		Path: "device untag", Short: "take tags from devices", Topic: "device-sets",
		Args: []Arg{{Name: "SET", Complete: completeRecorded}, {Name: "TAG", Many: true, Complete: completeTag}},
		Run:  deviceUntag,
	}, {
		Path: "device test", Short: "boot a node again and again, and tell how that went", Topic: "hardware",
		Long: `Has a node start anew, waits until it is up, and does so again, as "node reboot"
does. It tells for each round how long every step took, or at which it failed,
and in the end the shortest, the middle and the longest time of each; that stays
with the node ("device show", "node show", "log show"). A round has failed when
the node cannot boot, would be switched off and on since it is late (see the
setting boot.timeout), or takes longer than --timeout.

The status is 0 when all rounds came up, else 1. The test ends when the node
changes hands, somebody else starts it anew or switches it off, or the server
has no means to start it; Ctrl-C ends it, too.`,
		Args: []Arg{{Name: "NODE", Complete: completeNode}},
		Flags: []Flag{
			{Name: "rounds", Value: "N", Usage: "how often it boots; 20 unless told"},
			hardFlag,
			{Name: "timeout", Value: "D", Usage: "how long a round may take, as in 5m; 15m unless told"},
			yesFlag, noInputFlag, jsonFlag,
		},
		Run: deviceTest,
	}, {
		Path: "device rescan", Short: "ask switches what is connected to their ports", Topic: "power",
		Long: `Asks all explorable switches, or those of the set, and notes which device is
connected to which port. Of the ports where several switches see a device, it
is the one where the least else is seen; a port with many devices behind it
leads to another switch.`,
		Args: []Arg{{Name: "SET", Optional: true, Complete: completeDeviceSet}},
		Run:  deviceRescan,
	}, {
		Path: "device tree", Short: "draw which device is connected to which port", Topic: "power",
		Run: deviceTree,
	}}
}

func deviceShow(ctx context.Context, c *Call) error {
	found, server, err := c.devices(ctx)
	if err != nil {
		return err
	}
	jobs, err := c.Images.Jobs(ctx)
	if err != nil {
		return err
	}
	var first []api.Device
	var wrong []string
	if server {
		for _, t := range c.Lab.Troubles() {
			wrong = append(wrong, t.Text)
		}
		first = append(first, api.ServerDevice(c.Lab.IP, strings.Join(wrong, "; ")))
	}
	tested, err := c.testedOne(ctx, found)
	if err != nil {
		return err
	}
	state := func(d *nodes.DeviceStatus) string { return c.stateOf(d, jobs) }
	switch {
	case c.on("json"):
		return listed(c, "devices", first, found.Each(ctx), func(d *nodes.DeviceStatus) api.Device {
			doc := api.NewDevice(d, state(d))
			if tested != nil {
				doc.Test = api.NewTest(*tested)
			}
			return doc
		})
	case c.on("names-only"):
		return c.nodeNames(first, found)
	}
	var before [][]string
	now := c.Now()
	var others []string // that say that they are something else, or become that
	for _, d := range first {
		before = append(before, []string{d.Name, d.Type, "-", "-", orDash(d.IP), "-", "-", d.State})
	}
	var why troubles
	err = tabled(c, []string{"NAME", "TYPE", "MODEL", "MAC", "IP", "SWITCH", "PORT", "STATE"}, before, found.Outline(ctx), found.Each(ctx),
		func(row []string, d *nodes.DeviceStatus) []string {
			port := "-"
			if d.Port.Number != 0 {
				port = portLabel(d.Port.Number, &d.PortName)
			}
			return append(row, string(d.Name), string(d.Kind), cmp.Or(string(d.Model), "-"), cmp.Or(string(d.MAC), "-"), cmp.Or(d.IP(), "-"), cmp.Or(string(d.Switch), "-"), port, stateCell(nodes.State(state(d)), d.Retired() != nil)+lastStep(d.Status, now))
		}, func(d *nodes.DeviceStatus) {
			why.add(d)
			if d.Reports != "" && len(others) < fault.MostNames {
				others = append(others, fmt.Sprintf("%s, a %s, reports itself as %s.", d.Name, d.Model, d.Reports))
			}
			if d.Becomes() != "" && len(others) < fault.MostNames {
				others = append(others, fmt.Sprintf("%s, a %s, becomes a %s if it is free when that is here; %s.", d.Name, d.Model, d.Becomes(), c.downloadFor(d.Becomes(), jobs)))
			}
		})
	if err != nil {
		return err
	}
	why.tell(c)
	for _, line := range others {
		c.note("%s", line)
	}
	if c.showsOne() {
		for d := range found.Found() {
			if len(d.Tags()) > 0 {
				c.note("Tags: %s.", strings.Join(d.Tags(), ", "))
			}
			if also, err := c.alsoFeeds(ctx, d); err != nil {
				return err
			} else if also != "" {
				c.note("Power: %s.", also)
			}
		}
	}
	if tested != nil {
		c.note("Tested %s.", testWords(*tested))
	}
	for _, text := range wrong {
		c.note("Network: %s.", text)
	}
	return nil
}

// devices returns the devices of the optional first argument, and whether the
// server is among them.
func (c *Call) devices(ctx context.Context) (found nodes.List, server bool, err error) {
	if c.arg(0) == "" {
		found, err = c.Lab.AllDevices(ctx)
		return found, true, err
	}
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return found, false, err
	}
	return c.Lab.Devices(ctx, c.User, set)
}

// stateOf is what a device is doing; of one that waits for the default image of
// its model, how that download goes.
func (c *Call) stateOf(d *nodes.DeviceStatus, jobs []images.Job) string {
	if d.Kind != nodes.Unknown {
		return string(d.State)
	}
	if how := c.downloadFor(d.Model, jobs); how != "" {
		return how
	}
	if d.Arch() != "" {
		return "no model known, firmware of " + d.Arch().String()
	}
	return "no model known"
}

// downloadFor is how the download of the default image of a model goes; "" when there is none.
func (c *Call) downloadFor(m images.Model, jobs []images.Job) string {
	i := slices.IndexFunc(jobs, func(j images.Job) bool { return j.ID == images.DownloadID(m) })
	if i < 0 {
		return ""
	}
	if j := jobs[i]; j.Error != "" || j.Stopped {
		return "download of " + j.What + ": " + c.progressOf(j) + " (see: advanced jobs)"
	}
	return "downloading " + jobs[i].What + ": " + c.progressOf(jobs[i])
}

// lastStep follows the state of a device that boots, or could not, or is no node yet: the
// last step that it reached, and when.
func lastStep(s nodes.Status, now time.Time) string {
	switch {
	case s.Step == "", s.State == nodes.Up, s.Step == nodes.StepNone && s.Failed:
		return ""
	case s.Step == nodes.StepNone:
		return ", asked for nothing for " + spell(now.Sub(s.StepSince))
	}
	return ", " + s.Step.Word() + " " + spell(now.Sub(s.StepSince)) + " ago"
}

func deviceAdd(ctx context.Context, c *Call) error {
	name, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	if !c.given("mac") {
		return c.withUsage(fault.Usagef("device add: --mac is missing"))
	}
	a := nodes.Announcement{Name: name}
	if a.MAC, err = ethernet.ParseMAC(c.option("mac")); err != nil {
		return err
	}
	if c.given("model") {
		if a.Model, err = images.ParseModel(c.option("model")); err != nil {
			return err
		}
	}
	d, err := c.Lab.Register(ctx, c.User.Actor(), a)
	if err != nil {
		return err
	}
	c.sayWhatIs(d)
	return nil
}

// sayWhatIs says what a device is by its model.
func (c *Call) sayWhatIs(d nodes.Device) {
	switch {
	case d.Kind == nodes.Node && !d.Free():
		c.say("%s is known already: a node of %s that boots %s", d.Name, d.Owner(), d.Image)
	case d.Becomes() != "":
		c.say("%s becomes a %s when %s is here, if it is free then: the download goes on in the background (see: device show)", d.Name, d.Becomes(), images.DefaultRef(d.Becomes()))
	case d.Kind == nodes.Node:
		c.say("%s is a free node and boots %s", d.Name, d.Image)
	case d.Model != "":
		c.say("%s becomes a free node when %s is here: the download goes on in the background (see: device show)", d.Name, images.DefaultRef(d.Model))
	default:
		c.say("%s is registered; it stays unknown until its model is told: device config %s model=MODEL", d.Name, d.Name)
		c.note("If it is a switch: device config %s type=switch (see: help show power)", d.Name)
	}
}

// forgetDevices forgets the devices of the first argument, or those that nobody knows.
func forgetDevices(ctx context.Context, c *Call) error {
	switch {
	case c.on("unknown") && c.arg(0) != "":
		return c.withUsage(fault.Usagef("device forget: SET or --unknown, not both"))
	case c.arg(0) != "":
		return c.removeDevices(ctx, c.Lab.Forget, "forgotten")
	case !c.on("unknown"):
		return c.withUsage(fault.Usagef("device forget: SET is missing"))
	}
	var gone []nodes.Device
	err := c.withConsent(ctx, "Remove", func(given consent.Agreement) (err error) {
		gone, err = c.Lab.ForgetUnknown(ctx, c.User, given)
		return err
	})
	if err != nil {
		return err
	}
	if len(gone) == 0 {
		c.note("All devices are known.")
	}
	for _, d := range gone {
		c.say("%s forgotten", d.Name)
	}
	return nil
}

// removeDevices removes the devices of the first argument.
func (c *Call) removeDevices(ctx context.Context, do func(context.Context, auth.Name, nodes.Set, consent.Agreement) ([]nodes.Device, error), done string) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var gone []nodes.Device
	err = c.withConsent(ctx, "Remove", func(given consent.Agreement) error {
		gone, err = do(ctx, c.User, set, given)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range gone {
		c.say("%s %s", d.Name, done)
	}
	return nil
}

// renameDevice gives the device that is the first argument the name of the second.
func renameDevice(ctx context.Context, c *Call) error {
	old, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	name, err := nodes.ParseName(c.arg(1))
	if err != nil {
		return err
	}
	return c.withConsent(ctx, "Rename", func(given consent.Agreement) error {
		d, err := c.Lab.Rename(ctx, c.User, old, name, given)
		if err != nil {
			return err
		}
		c.say("%s is now called %s", old, d.Name)
		return nil
	})
}
