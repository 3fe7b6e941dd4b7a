package nodes

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

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

const seconds = "a length of time, as in 90s or 3m"

// nodeSettings are of all nodes.
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
