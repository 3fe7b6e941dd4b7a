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
				return all, newSubject(*b.device).lacks(known)
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
		var before configured
		var shown []Setting // of before
		for d, err := range l.of.configured(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if before.Device == nil || !d.alike(&before) {
				shown, before = d.subject().show(shown[:0], l.keys), *d
			}
			for i := range shown {
				shown[i].Device = d.Name
				if !yield(&shown[i], nil) {
					return
				}
			}
		}
	}
}

// Outline visits what is as long as any of the settings: the longest name, with all keys
// that there are. It looks at no device and tells no values.
func (l SettingList) Outline() iter.Seq2[*Setting, error] {
	return func(yield func(*Setting, error) bool) {
		longest, seen := Name(""), map[unique.Handle[Traits]]bool{}
		for _, i := range l.of.which {
			b := &l.of.among[i]
			if len(b.name) > len(longest) {
				longest = b.name
			}
			seen[b.traits] = true
		}
		for traits := range seen {
			for _, s := range newSubject(traits.Value().Device()).show(nil, l.keys) {
				if !yield(&Setting{Device: longest, Key: s.Key}, nil) {
					return
				}
			}
		}
	}
}

// configured is a device of the view with what others know of it.
type configured struct {
	*Device
	at power.Port    // that it is connected to
	on power.Outlet  // the same in words
	sw *power.Switch // of a switch: how to speak to it
	by *power.Supply // what administrators told of its power, nil if nothing
}

// alike reports whether all settings say the same of both. It may miss that they do.
func (d *configured) alike(other *configured) bool {
	return d.traits == other.traits && d.Settings() == other.Settings() && d.Becomes() == other.Becomes() && d.on == other.on && d.sw == other.sw && d.by == other.by && slices.Equal(d.Remarks().Exposed, other.Remarks().Exposed)
}

func (d *configured) subject() *subject {
	s := newSubject(*d.Device)
	s.outlet = d.on
	if d.sw != nil {
		s.sw = *d.sw
	}
	if d.by != nil {
		s.supply = *d.by
	}
	return s
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

// configured visits the devices as Each does, with what their settings say.
func (l List) configured(ctx context.Context) iter.Seq2[*configured, error] {
	return inPages(l.which, func(to []configured, some []uint32) ([]configured, error) {
		err := l.now(ctx, some, func(_ uint32, b brief) { to = append(to, configured{Device: b.device}) })
		if err != nil {
			return to, err
		}
		return to, l.lab.addSettings(ctx, to)
	})
}

// addSettings adds to devices what others know of them.
func (l *Lab) addSettings(ctx context.Context, all []configured) error {
	carriers := map[ethernet.MAC]Name{} // switches that some are connected to
	some := false                       // are switches
	err := l.Ports.Wiring(ctx, func(w power.Wiring) {
		for i := range all {
			d := &all[i]
			some = some || d.Kind == Switch
			d.by = w.Supply(d.MAC)
			if d.at = w.Port(d.MAC); !d.at.IsZero() {
				carriers[d.at.Switch] = ""
			}
		}
	})
	if err == nil && len(carriers) > 0 {
		err = l.view.Read(ctx, func() {
			for mac := range carriers {
				carriers[mac] = cmp.Or(l.view.switches[mac], Name(mac))
			}
		})
	}
	if err != nil || !some && len(carriers) == 0 {
		return err
	}
	return l.Store.View(ctx, func(r state.Reader) (err error) {
		named := map[ethernet.MAC]map[int]string{}
		for mac := range carriers {
			if named[mac], err = l.Ports.PortNames(r, mac); err != nil {
				return err
			}
		}
		for i := range all {
			d := &all[i]
			if d.Kind == Switch {
				sw, err := l.Ports.Settings(r, d.MAC)
				if err != nil {
					return err
				}
				d.sw = &sw
			}
			if at := d.at; !at.IsZero() {
				d.on = power.Outlet{Switch: string(carriers[at.Switch]), Number: at.Number, Name: named[at.Switch][at.Number]}
			}
		}
		return nil
	})
}
