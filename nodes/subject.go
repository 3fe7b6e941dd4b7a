package nodes

import (
	"cmp"
	"slices"

	"walt/fault"
	"walt/power"
)

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
