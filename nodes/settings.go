package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"walt/fault"
	"walt/images"
	"walt/power"
)

// Settings of a node; what is zero is not set.
type Settings struct {
	BootTimeout time.Duration `json:"boot_timeout,omitzero"`
	BootRetries *int          `json:"boot_retries,omitempty"`
	BootArgs    string        `json:"boot_args,omitempty"` // for the kernel of a machine, see images.ParseBootArgs

	// ReplyDelay is how long a board waits for the offer of its address; nil: as its model
	// needs it. Of devices that are neither virtual nor switches.
	ReplyDelay *time.Duration `json:"reply_delay,omitempty"`

	// Hard says that a board is never asked to reboot or to shut down: its power is cut at once.
	Hard bool `json:"hard,omitempty"`

	// Console is that of the kernels of boards and PCs; "" where that is known.
	Console string `json:"console,omitempty"`

	// Serial is where the serial line of a board is, see console.Target; "" for nowhere.
	Serial string `json:"serial,omitempty"`

	// Of virtual nodes.
	BootDelay time.Duration `json:"boot_delay,omitzero"`
	RAM       int           `json:"ram,omitzero"` // MiB; it and Cores are for machines, simulated nodes ignore them
	Cores     int           `json:"cores,omitzero"`

	// Of machines, virtual and others.
	Loader  Loader   `json:"loader,omitempty"`
	Root    RootKind `json:"root,omitempty"`
	Rescue  bool     `json:"rescue,omitempty"`  // its boots stop before the root is mounted
	Overlay string   `json:"overlay,omitempty"` // what it may write, as 512M, or as 60% of the memory that its image leaves
}

// Loader is how the kernel of a virtual machine comes into its memory, or what a PC loads
// over the network that loads its kernel.
type Loader string

const (
	AutoLoader Loader = ""       // as the server's configuration says
	Direct     Loader = "direct" // it starts with it
	PXE        Loader = "pxe"    // iPXE fetches it over the network, as on other machines
	IPXE       Loader = "ipxe"   // of a PC: iPXE with drivers of its own, rather than those of the firmware
	Signed     Loader = "signed" // of a PC: what Secure Boot starts
)

// RootKind is where the root file system of a machine is.
type RootKind string

const (
	// AutoRoot leaves it on the server, unless the kernel of the image cannot do that
	// and the machine has the memory for the whole image.
	AutoRoot RootKind = ""
	NFSRoot  RootKind = "nfs" // on the server
	RAMRoot  RootKind = "ram" // in the machine's memory
)

// Settings returns those of the node.
func (d Device) Settings() Settings {
	if d.Own == nil {
		return Settings{}
	}
	return *d.Own
}

// own is what a device with the settings has for its own.
func (s Settings) own() *Settings {
	if s == (Settings{}) {
		return nil
	}
	return &s
}

// Memory is how many bytes of memory a machine has.
func (s Settings) Memory() int64 { return int64(cmp.Or(s.RAM, 512)) << 20 }

func (s Settings) bootTimeout() time.Duration { return cmp.Or(s.BootTimeout, 180*time.Second) }

func (s Settings) bootRetries() int {
	if s.BootRetries == nil {
		return 9
	}
	return *s.BootRetries
}

// SettingKeys returns the keys of all settings, or of those that nodes have.
func SettingKeys(nodesOnly bool) []string {
	return settingKeys(func(s setting) bool { return !nodesOnly || s.ofNodes() })
}

// AllowedValues returns which values a setting may have, for people.
func AllowedValues(key string) string {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.Key == key })
	return settings[i].Allowed
}

func settingKeys(among func(setting) bool) (keys []string) {
	for _, s := range settings {
		if among(s) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// subject is a device with its settings, while they are shown or changed.
type subject struct {
	Device
	set    Settings // of the device, or that it is to have
	sw     power.Switch
	outlet power.Outlet
	supply power.Supply
	moves  bool       // a user tells where it is connected
	to     power.Port // there; the zero Port is nowhere
}

func newSubject(d Device) *subject { return &subject{Device: d, set: d.Settings()} }

// setting is one that some devices have.
type setting struct {
	power.Setting[subject]
	of func(Device) bool
}

// ofNodes reports whether there are nodes that have the setting.
func (s setting) ofNodes() bool {
	return s.of(Device{Kind: Node, Host: Physical}) || s.of(Device{Kind: Node, Host: Simulated})
}

func isSwitch(d Device) bool   { return d.Kind == Switch }
func isNode(d Device) bool     { return d.Kind == Node }
func isVirtual(d Device) bool  { return d.Kind == Node && d.Virtual() }
func isPhysical(d Device) bool { return !d.Virtual() }
func isBoard(d Device) bool    { return !d.Virtual() && d.Kind != Switch }

const seconds = "a length of time, as in 90s or 3m"

// settings in the order in which they are shown and made.
var settings = slices.Concat(
	[]setting{typeSetting, modelSetting},
	settingsOf(power.SwitchSettings(), isSwitch, func(s *subject) *power.Switch { return &s.sw }),
	settingsOf(power.OutletSettings(), isPhysical, func(s *subject) *power.Outlet { return &s.outlet }),
	settingsOf(power.SupplySettings(), isBoard, func(s *subject) *power.Supply { return &s.supply }),
	settingsOf(nodeSettings, isNode, func(s *subject) *Settings { return &s.set }),
	settingsOf(boardSettings, isBoard, func(s *subject) *Settings { return &s.set }),
	[]setting{loaderSetting},
	settingsOf(virtualSettings, isVirtual, func(s *subject) *Settings { return &s.set }),
	settingsOf(rootSettings, isNode, func(s *subject) *Settings { return &s.set }),
	[]setting{exposeSetting},
)

// settingsOf makes settings of what is part of a subject settings of subjects.
func settingsOf[T any](parts []power.Setting[T], of func(Device) bool, part func(*subject) *T) (all []setting) {
	for _, p := range parts {
		s := setting{of: of, Setting: power.Setting[subject]{
			Key: p.Key, Allowed: p.Allowed, Secret: p.Secret,
			Get: func(s *subject) string { return p.Get(part(s)) },
			Set: func(s *subject, value string) error { return p.Set(part(s), value) },
		}}
		if p.Note != nil {
			s.Note = func(s *subject) string { return p.Note(part(s)) }
		}
		all = append(all, s)
	}
	return all
}

var typeSetting = setting{
	of: func(d Device) bool { return d.Kind != Node },
	Setting: power.Setting[subject]{
		Key: "type", Allowed: "switch",
		Get: func(s *subject) string { return string(s.Kind) },
		Set: func(s *subject, v string) error {
			switch {
			case v != string(Switch):
				return power.ErrNotAllowed
			case s.Model != "":
				return fault.Failedf("%s is a %s, which is not a switch; nothing changed", s.Name, s.Model)
			}
			s.Kind = Switch
			return nil
		},
	},
}

// loaderSetting is of all nodes, and means something else to those that run on the server.
var loaderSetting = setting{
	of: isNode,
	Setting: power.Setting[subject]{
		Key: "boot.loader", Allowed: "auto; virtual nodes: direct, pxe; others: ipxe, signed",
		Get: func(s *subject) string { return cmp.Or(string(s.set.Loader), "auto") },
		Set: func(s *subject, v string) error {
			switch l := Loader(v); {
			case v == "auto":
				s.set.Loader = AutoLoader
			case s.Virtual() && (l == Direct || l == PXE), !s.Virtual() && (l == IPXE || l == Signed):
				s.set.Loader = l
			default:
				return power.ErrNotAllowed
			}
			return nil
		},
	},
}

var nodeSettings = []power.Setting[Settings]{
	{
		Key: "boot.timeout", Allowed: seconds,
		Get: func(s *Settings) string { return s.bootTimeout().String() },
		Set: func(s *Settings, v string) (err error) {
			s.BootTimeout, err = length(v, time.Second)
			return err
		},
	},
	{
		Key: "boot.retries", Allowed: "0 to 100",
		Get: func(s *Settings) string { return strconv.Itoa(s.bootRetries()) },
		Set: func(s *Settings, v string) error {
			n, err := whole(v, 0, 100)
			s.BootRetries = &n
			return err
		},
	},
	{
		Key: bootArgsKey, Allowed: "none, or words for the kernel, as in console=ttyS1",
		Get: func(s *Settings) string { return cmp.Or(s.BootArgs, "none") },
		Set: func(s *Settings, v string) (err error) {
			if v == "none" {
				v = ""
			}
			s.BootArgs, err = images.ParseBootArgs(v)
			return err
		},
	},
}

// mostReplyDelay is less than after how long firmware asks again.
const mostReplyDelay = 4 * time.Second

var boardSettings = []power.Setting[Settings]{
	{
		Key: "power.first", Allowed: "soft or hard",
		Get: func(s *Settings) string {
			if s.Hard {
				return "hard"
			}
			return "soft"
		},
		Set: func(s *Settings, v string) error {
			if v != "soft" && v != "hard" {
				return power.ErrNotAllowed
			}
			s.Hard = v == "hard"
			return nil
		},
	},
	{
		Key: "boot.console", Allowed: "auto, or a console as in ttyS1,115200 or ttyAMA0",
		Get: func(s *Settings) string { return cmp.Or(s.Console, "auto") },
		Set: func(s *Settings, v string) error {
			if v == "auto" {
				s.Console = ""
				return nil
			}
			console, err := images.ParseConsole(v)
			if err != nil || console == "" {
				return power.ErrNotAllowed
			}
			s.Console = console
			return nil
		},
	},
	{
		Key: "boot.reply-delay", Allowed: "auto, or a length of time up to 4s",
		Get: func(s *Settings) string {
			if s.ReplyDelay == nil {
				return "auto"
			}
			return s.ReplyDelay.String()
		},
		Set: func(s *Settings, v string) error {
			if v == "auto" {
				s.ReplyDelay = nil
				return nil
			}
			d, err := length(v, 0)
			if err == nil && d > mostReplyDelay {
				err = power.ErrNotAllowed
			}
			s.ReplyDelay = &d
			return err
		},
	},
	serialSetting,
}

var virtualSettings = []power.Setting[Settings]{
	{
		Key: "boot.delay", Allowed: seconds,
		Get: func(s *Settings) string { return s.BootDelay.String() },
		Set: func(s *Settings, v string) (err error) {
			s.BootDelay, err = length(v, 0)
			return err
		},
	},
	{
		Key: "ram", Allowed: "a size in M or G, as in 512M or 2G, up to 1024G",
		Get: func(s *Settings) string { return fmt.Sprintf("%dM", s.Memory()>>20) },
		Set: func(s *Settings, v string) (err error) {
			s.RAM, err = mebibytes(v)
			return err
		},
	},
	{
		Key: "cpu.cores", Allowed: "1 to 256",
		Get: func(s *Settings) string { return strconv.Itoa(s.CPUs()) },
		Set: func(s *Settings, v string) (err error) {
			s.Cores, err = whole(v, 1, 256)
			return err
		},
	},
}

// rootSettings are about the root file system of machines; simulated nodes ignore them.
var rootSettings = []power.Setting[Settings]{
	{
		Key: "boot.root", Allowed: "auto, nfs or ram",
		Get: func(s *Settings) string { return cmp.Or(string(s.Root), "auto") },
		Set: func(s *Settings, v string) error {
			switch k := RootKind(v); k {
			case NFSRoot, RAMRoot:
				s.Root = k
			case "auto":
				s.Root = AutoRoot
			default:
				return power.ErrNotAllowed
			}
			return nil
		},
	},
	{
		Key: "boot.rescue", Allowed: "on or off",
		Get: func(s *Settings) string {
			if s.Rescue {
				return "on"
			}
			return "off"
		},
		Set: func(s *Settings, v string) error {
			if v != "on" && v != "off" {
				return power.ErrNotAllowed
			}
			s.Rescue = v == "on"
			return nil
		},
	},
	{
		Key: "ram.overlay", Allowed: "1% to 90% of what the image leaves, or 1M to 1024G",
		Get: func(s *Settings) string { return cmp.Or(s.Overlay, "60%") },
		Set: func(s *Settings, v string) (err error) {
			if percent, ok := strings.CutSuffix(v, "%"); ok {
				_, err = whole(percent, 1, 90)
			} else {
				_, err = mebibytes(v)
			}
			s.Overlay = strings.ToUpper(v)
			return err
		},
	},
}

func whole(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, power.ErrNotAllowed
	}
	return n, nil
}

// mebibytes parses a size as in 512M or 2G, up to 1024G.
func mebibytes(s string) (int, error) {
	number, unit := s[:max(0, len(s)-1)], 1
	switch strings.ToUpper(s[len(number):]) {
	case "M":
	case "G":
		unit = 1024
	default:
		return 0, power.ErrNotAllowed
	}
	n, err := whole(number, 1, 1<<20/unit)
	return n * unit, err
}

func length(s string, least time.Duration) (time.Duration, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > 24*time.Hour {
		return 0, power.ErrNotAllowed
	}
	return d, nil
}
