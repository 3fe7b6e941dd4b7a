package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/fault"
	"walt/images"
	"walt/power"
)

// modelSetting is told of devices of which nothing tells it, or which tell it wrong. A node
// has another one only while it is free: whose it is says what it boots.
var modelSetting = setting{
	of: isBoard,
	Setting: power.Setting[subject]{
		Key: "model", Allowed: "a model, as in rpi-4-b; of nodes while they are free",
		Get: func(s *subject) string { return string(s.Model) },
		Note: func(s *subject) string {
			if s.Becomes() == "" {
				return ""
			}
			return fmt.Sprintf("becomes %s when %s is here", s.Becomes(), images.DefaultRef(s.Becomes()))
		},
		Set: func(s *subject, v string) error {
			m, err := images.ParseModel(v)
			if err != nil {
				return err
			}
			if s.Kind == Node && !s.Free() && m != s.Model {
				return fault.Failedf("%s belongs to %s, and its model changes only while it is free; nothing changed", s.Device.Name, s.Owner()).
					WithHint("who owns it frees it with: node release %s", s.Device.Name)
			}
			if m != s.Model {
				s.Reports = ""
			}
			s.Model, s.Told = m, true
			s.becomes("")
			return nil
		},
	},
}

// remodel follows a device, as it is written, to another model than it had: a free node
// boots the default image of that, another device becomes a free node by it. While that
// image is not here a free node stays what it is.
func (c *change) remodel(was, d Device) error {
	if d.Model == was.Model {
		if d.Becomes() == was.Becomes() {
			return nil
		}
		return abandon(c.tx, []Device{was})
	}
	if err := c.lab.canBe(d); err != nil {
		return err
	}
	def, here, err := images.Find(c.tx, images.DefaultRef(d.Model))
	switch {
	case err != nil:
		return err
	case was.Kind == Node && !here:
		d.becomes(d.Model)
		d.Model = was.Model
		err = errors.Join(devices.Put(c.tx, string(d.Name), d), c.lab.Images.Want(c.tx, d.Becomes()))
	case was.Kind == Node:
		err = errors.Join(index(c.tx, d), c.assignImage(d, def))
	case here:
		c.lab.enroll(&d, def)
		c.told.Record(registration(c.actor, d, fmt.Sprintf("%s %s", d.Kind, d.Model)))
		err = errors.Join(put(c.tx, d), c.lab.Ports.PowerCycleSoon(c.tx, d.MAC)) // it found nothing to boot so far
	default:
		err = c.lab.Images.Want(c.tx, d.Model)
	}
	return errors.Join(err, abandon(c.tx, []Device{was}))
}

// becomes makes a node one of the model whose default image it waited for, which is here
// now. One that somebody has by now stays what it is.
func (c *change) becomes(d Device, def images.Image) error {
	model := d.Becomes()
	d.becomes("")
	if !d.Free() {
		c.told.Record(registration(c.actor, d, fmt.Sprintf("stays a %s, and becomes no %s: %s has it", d.Model, model, d.Owner())))
		return devices.Put(c.tx, string(d.Name), d)
	}
	d.Model = model
	c.told.Record(registration(c.actor, d, fmt.Sprintf("%s %s", d.Kind, d.Model)))
	return errors.Join(index(c.tx, d), c.assignImage(d, def))
}

// canBe returns a fault when the firmware of a device told that it is no machine of the
// model that it is to be.
func (l *Lab) canBe(d Device) error {
	told := d.Arch()
	if told == "" || l.Platforms == nil {
		return nil
	}
	runs := l.Platforms(d.Model)
	if len(runs) == 0 || slices.ContainsFunc(runs, told.runs) {
		return nil
	}
	return fault.Failedf("%s cannot be a %s, which runs %s: its firmware is one of %s; nothing changed", d.Name, d.Model, strings.Join(runs, ", "), told).
		WithHint("see what is known of it with: device show %s", d.Name)
}

// Arch is the kind of machines that a firmware is for, as far as it tells; "" when it does
// not.
type Arch string

// The kinds of machines, as firmware tells them.
const (
	X86   Arch = "x86"
	ARM   Arch = "arm" // with 32 bits
	ARM64 Arch = "arm64"
	RISCV Arch = "riscv64"
)

// String is in words for users.
func (a Arch) String() string {
	switch a {
	case X86:
		return "PCs (x86)"
	case ARM:
		return "ARM with 32 bits"
	case ARM64:
		return "ARM with 64 bits"
	case RISCV:
		return "RISC-V with 64 bits"
	}
	return string(a)
}

// runs reports whether machines with the firmware may run a platform.
func (a Arch) runs(platform string) bool {
	arch, _, _ := strings.Cut(strings.TrimPrefix(platform, "linux/"), "/")
	switch a {
	case X86:
		return arch == "386" || arch == "amd64"
	case ARM: // processors of 64 bits may have that, too
		return arch == "arm" || arch == "arm64"
	case ARM64:
		return arch == "arm64"
	case RISCV:
		return arch == "riscv64"
	}
	return true
}
