package nodes

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"walt/fault"
	"walt/power/snmp"
)

// Settings of a node; what is zero is not set.
type Settings struct {
	BootTimeout time.Duration `json:"boot_timeout,omitzero"`
	BootRetries *int          `json:"boot_retries,omitempty"`

	// Of virtual nodes.
	BootDelay time.Duration `json:"boot_delay,omitzero"`
	RAM       int           `json:"ram,omitzero"` // MiB
	Cores     int           `json:"cores,omitzero"`
}

func (s Settings) bootTimeout() time.Duration { return cmp.Or(s.BootTimeout, 180*time.Second) }

func (s Settings) bootRetries() int {
	if s.BootRetries == nil {
		return 9
	}
	return *s.BootRetries
}

// Assignment is a setting and the value that it is to have.
type Assignment struct {
	Key, Value string
}

// ParseAssignments parses words like "snmp.version=2". Faults do not show
// values: they may be secret.
func ParseAssignments(words []string) (all []Assignment, err error) {
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fault.Usagef("unknown setting %.40q", w).WithHint("it looks like KEY=VALUE (see: help show power)")
		}
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.key == key }) {
			return nil, unknownSetting(key, func(setting) bool { return true })
		}
		if slices.ContainsFunc(all, func(a Assignment) bool { return a.Key == key }) {
			return nil, fault.Usagef("%s is given twice", key)
		}
		all = append(all, Assignment{key, value})
	}
	return all, nil
}

func unknownSetting(key string, among func(setting) bool) *fault.Error {
	known := settingKeys(among)
	f := fault.Usagef("unknown setting %.40q", key).WithHint("allowed are %s", strings.Join(known, ", "))
	if near := fault.Nearest(key, known); len(near) > 0 {
		f = f.WithHint("did you mean %s?\n%s", strings.Join(near, " or "), f.Hint)
	}
	return f
}

// SettingKeys returns the keys of all settings.
func SettingKeys() []string { return settingKeys(func(setting) bool { return true }) }

func settingKeys(among func(setting) bool) (keys []string) {
	for _, s := range settings {
		if among(s) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// subject is a device with its settings, while they are shown or changed.
type subject struct {
	Device
	sw     managed
	name   Name // of the switch that the device hangs on
	number int
}

// setting is one that some devices have.
type setting struct {
	key     string
	of      func(Device) bool
	allowed string // the values, for people
	secret  bool
	get     func(*subject) string
	set     func(s *subject, value string) error // an error other than a fault stands for any that is not allowed
}

var errNotAllowed = errors.New("not allowed")

func isSwitch(d Device) bool  { return d.Kind == Switch }
func isNode(d Device) bool    { return d.Kind == Node }
func isVirtual(d Device) bool { return d.Kind == Node && d.Virtual() }
func hangs(d Device) bool     { return !d.Virtual() }

const seconds = "a length of time, as in 90s or 3m"

// settings in the order in which they are shown and made.
var settings = []setting{
	{
		key: "type", of: func(d Device) bool { return d.Kind != Node }, allowed: "switch",
		get: func(s *subject) string { return string(s.Kind) },
		set: func(s *subject, v string) error {
			switch {
			case v != string(Switch):
				return errNotAllowed
			case s.Model != "":
				return fault.Failedf("%s is a %s, which is not a switch; nothing changed", s.Name, s.Model)
			}
			s.Kind = Switch
			return nil
		},
	},
	{
		key: "address", of: isSwitch, allowed: "a host, or host:port, of its SNMP agent",
		get: func(s *subject) string { return s.sw.Address },
		set: func(s *subject, v string) (err error) {
			s.sw.Address, err = snmp.ParseAddress(v)
			return err
		},
	},
	{
		key: "snmp.version", of: isSwitch, allowed: "1, 2, 3",
		get: func(s *subject) string { return numberOf(int(s.sw.Version)) },
		set: func(s *subject, v string) (err error) {
			s.sw.Version, err = snmp.ParseVersion(v)
			return err
		},
	},
	text("snmp.community", true, func(s *subject) *string { return &s.sw.Community }),
	text("snmp.user", false, func(s *subject) *string { return &s.sw.User }),
	{
		key: "snmp.auth-protocol", of: isSwitch,
		get: func(s *subject) string { return string(s.sw.AuthProtocol) },
		set: func(s *subject, v string) (err error) {
			if s.sw.AuthProtocol = ""; v != "none" {
				s.sw.AuthProtocol, err = snmp.ParseAuthProtocol(v)
			}
			return err
		},
	},
	text("snmp.auth-password", true, func(s *subject) *string { return &s.sw.AuthPassword }),
	{
		key: "snmp.priv-protocol", of: isSwitch,
		get: func(s *subject) string { return string(s.sw.PrivProtocol) },
		set: func(s *subject, v string) (err error) {
			if s.sw.PrivProtocol = ""; v != "none" {
				s.sw.PrivProtocol, err = snmp.ParsePrivProtocol(v)
			}
			return err
		},
	},
	text("snmp.priv-password", true, func(s *subject) *string { return &s.sw.PrivPassword }),
	toggle("lldp.explore", func(s *subject) *bool { return &s.sw.Explore }),
	toggle("poe.reboots", func(s *subject) *bool { return &s.sw.PoE }),
	{
		key: "switch", of: hangs, allowed: "the name of a switch, or none",
		get: func(s *subject) string { return cmp.Or(string(s.name), "none") },
		set: func(s *subject, v string) error { s.name = Name(strings.ToLower(v)); return nil },
	},
	{
		key: "port", of: hangs, allowed: "the number of a port, from 1 on",
		get: func(s *subject) string { return numberOf(s.number) },
		set: func(s *subject, v string) (err error) {
			s.number, err = whole(v, 1, 1<<16)
			return err
		},
	},
	{
		key: "boot.timeout", of: isNode, allowed: seconds,
		get: func(s *subject) string { return s.Settings.bootTimeout().String() },
		set: func(s *subject, v string) (err error) {
			s.Settings.BootTimeout, err = length(v, time.Second)
			return err
		},
	},
	{
		key: "boot.retries", of: isNode, allowed: "0 to 100",
		get: func(s *subject) string { return strconv.Itoa(s.Settings.bootRetries()) },
		set: func(s *subject, v string) error {
			n, err := whole(v, 0, 100)
			s.Settings.BootRetries = &n
			return err
		},
	},
	{
		key: "boot.delay", of: isVirtual, allowed: seconds,
		get: func(s *subject) string { return s.Settings.BootDelay.String() },
		set: func(s *subject, v string) (err error) {
			s.Settings.BootDelay, err = length(v, 0)
			return err
		},
	},
	{
		key: "ram", of: isVirtual, allowed: "a size, as in 512M or 2G",
		get: func(s *subject) string { return fmt.Sprintf("%dM", cmp.Or(s.Settings.RAM, 512)) },
		set: func(s *subject, v string) (err error) {
			unit, v := 1, strings.ToUpper(v)
			if strings.HasSuffix(v, "G") {
				unit = 1024
			}
			s.Settings.RAM, err = whole(strings.TrimRight(v, "MG"), 1, 1<<20)
			s.Settings.RAM *= unit
			return err
		},
	},
	{
		key: "cpu.cores", of: isVirtual, allowed: "1 to 256",
		get: func(s *subject) string { return strconv.Itoa(cmp.Or(s.Settings.Cores, 1)) },
		set: func(s *subject, v string) (err error) {
			s.Settings.Cores, err = whole(v, 1, 256)
			return err
		},
	},
}

// text is a setting of switches that is any text.
func text(key string, secret bool, field func(*subject) *string) setting {
	return setting{
		key: key, of: isSwitch, allowed: "1 to 127 characters", secret: secret,
		get: func(s *subject) string { return *field(s) },
		set: func(s *subject, v string) error {
			if v == "" || len(v) > 127 {
				return errNotAllowed
			}
			*field(s) = v
			return nil
		},
	}
}

// toggle is a setting of switches that is true or false.
func toggle(key string, field func(*subject) *bool) setting {
	return setting{
		key: key, of: isSwitch, allowed: "true, false",
		get: func(s *subject) string { return strconv.FormatBool(*field(s)) },
		set: func(s *subject, v string) error {
			if *field(s) = v == "true"; v != "true" && v != "false" {
				return errNotAllowed
			}
			return nil
		},
	}
}

func numberOf(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func whole(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, errNotAllowed
	}
	return n, nil
}

func length(s string, least time.Duration) (time.Duration, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > 24*time.Hour {
		return 0, errNotAllowed
	}
	return d, nil
}
