package nodes

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"unique"

	"walt/auth"
	"walt/ethernet"
	"walt/power"
	"walt/state"
)

// Setting is one of a device, as shown.
type Setting struct {
	Device Name
	Key    string
	Value  string // "" when it is not set, and of a secret
	Note   string // about the value, for people
	Secret bool   // it is set, and not shown
}

// SettingList is settings that are to be shown. As a List, it holds whose these are and
// nothing else.
type SettingList struct {
	of   List
	keys []string // of those that are wanted, none: of all
}

// Settings returns the settings of the devices of the set: those with the keys,
// which each of them must have, or all when there are no keys.
func (l *Lab) Settings(ctx context.Context, user auth.Name, set Set, nodesOnly bool, keys []string) (SettingList, error) {
	found, err := l.show(ctx, user, set, scopeOf(nodesOnly))
	all := SettingList{found, keys}
	if err != nil || len(keys) == 0 {
		return all, err
	}
	fit := map[unique.Handle[Traits]]bool{} // devices that have the same traits have the same settings
	for _, i := range found.which {
		b := found.among[i]
		if fit[b.traits] {
			continue
		}
		for _, known := range settings {
			if slices.Contains(keys, known.Key) && !known.of(*b.device) {
				return all, (&subject{Device: *b.device}).lacks(known)
			}
		}
		fit[b.traits] = true
	}
	return all, nil
}

// Each visits the settings, those of each device as they are when it is its turn, as
// List.Each does. What it points to is another one after that.
func (l SettingList) Each(ctx context.Context) iter.Seq2[*Setting, error] {
	return func(yield func(*Setting, error) bool) {
		var before *subject
		var shown []Setting // of before
		for s, err := range l.of.subjects(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if before == nil || !s.alike(before) {
				shown = s.show(shown[:0], l.keys)
				before = &subject{Device: s.Device, sw: s.sw, outlet: s.outlet}
			}
			for i := range shown {
				shown[i].Device = s.Device.Name
				if !yield(&shown[i], nil) {
					return
				}
			}
		}
	}
}

// alike reports whether all settings say the same of both. It may miss that they do.
func (s *subject) alike(other *subject) bool {
	return s.traits == other.traits && s.Settings == other.Settings && s.sw == other.sw && s.outlet == other.outlet
}

// show appends the settings with the keys, or all when there are no keys.
func (s *subject) show(to []Setting, keys []string) []Setting {
	for _, known := range settings {
		if len(keys) > 0 && !slices.Contains(keys, known.Key) || !known.of(s.Device) {
			continue
		}
		shown := Setting{Key: known.Key, Value: known.Get(s)}
		if known.Note != nil {
			shown.Note = known.Note(s)
		}
		if known.Secret && shown.Value != "" {
			shown.Value, shown.Secret = "", true
		}
		to = append(to, shown)
	}
	return to
}

// subjects visits the devices as Each does, with their settings.
func (l List) subjects(ctx context.Context) iter.Seq2[*subject, error] {
	return inPages(l.which, func(to []subject, some []uint32) ([]subject, error) {
		err := l.now(ctx, some, func(_ uint32, b brief) { to = append(to, subject{Device: *b.device}) })
		if err != nil {
			return to, err
		}
		return to, l.lab.addSettings(ctx, to)
	})
}

// addSettings adds to devices what others know of them: how to speak to switches, and
// where devices are connected.
func (l *Lab) addSettings(ctx context.Context, all []subject) error {
	switches := map[ethernet.MAC]Name{} // that some are connected to
	some := false                       // are switches
	err := l.Ports.Wiring(ctx, func(w power.Wiring) {
		for i := range all {
			s := &all[i]
			some = some || s.Kind == Switch
			if s.to = w.Port(s.MAC); !s.to.IsZero() {
				switches[s.to.Switch] = ""
			}
		}
	})
	if err == nil && len(switches) > 0 {
		err = l.view.Read(ctx, func() {
			for mac := range switches {
				switches[mac] = cmp.Or(l.view.switches[mac], Name(mac))
			}
		})
	}
	if err != nil || !some && len(switches) == 0 {
		return err
	}
	return l.Store.View(ctx, func(r state.Reader) (err error) {
		named := map[ethernet.MAC]map[int]string{}
		for mac := range switches {
			if named[mac], err = l.Ports.PortNames(r, mac); err != nil {
				return err
			}
		}
		for i := range all {
			s := &all[i]
			if s.Kind == Switch {
				if s.sw, err = l.Ports.Settings(r, s.MAC); err != nil {
					return err
				}
			}
			if on := s.to; !on.IsZero() {
				s.outlet = power.Outlet{Switch: string(switches[on.Switch]), Number: on.Number, Name: named[on.Switch][on.Number]}
			}
		}
		return nil
	})
}
