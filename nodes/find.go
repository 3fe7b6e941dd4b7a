package nodes

import (
	"maps"
	"path"
	"slices"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/power"
)

// scope says which devices a command is about.
type scope struct {
	noun string
	kind Kind // "" for all
}

var (
	nodeScope   = scope{"node", Node}
	deviceScope = scope{"device", ""}
)

func (sc scope) holds(d *Device) bool { return sc.kind == "" || d.Kind == sc.kind }

// expand returns the devices that the set stands for, each once, in natural
// order. All unknown names are reported at once.
func (s Set) expand(from source, user auth.Name, sc scope) ([]Device, error) {
	found, err := s.find(from, user, sc)
	return values(found), err
}

// find is expand for who changes nothing of them.
func (s Set) find(from source, user auth.Name, sc scope) ([]*Device, error) {
	found, err := s.search(from, user, sc)
	if err != nil || len(found) > 0 {
		return found, err
	}
	hint := "see all devices with: device show"
	if sc == nodeScope {
		hint = "see all nodes with: node show --all"
	}
	return nil, fault.Failedf("the set %q is empty", s).WithHint("%s", hint)
}

// search is find of what may be nothing.
func (s Set) search(from source, user auth.Name, sc scope) ([]*Device, error) {
	f := newFinder(from, user, sc)
	var found []*Device
	for _, words := range s.any {
		some, err := f.all(words)
		if err != nil {
			return nil, err
		}
		if found == nil {
			found = some
		} else {
			found = append(found, some...)
		}
	}
	if err := f.fault(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, naturally)
	return slices.CompactFunc(found, func(a, b *Device) bool { return a.Name == b.Name }), nil
}

// matcher returns what tells whether the set stands for a node, as that is and by what it
// is doing at the moment. It is not to be asked while the view is read.
func (s Set) matcher(from source, user auth.Name) (func(*Device) bool, error) {
	f := newFinder(from, user, nodeScope)
	var tests []func(*Device) bool
	for _, words := range s.any {
		test, doing, err := f.tests(words)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(d *Device) bool {
			if !test(d) {
				return false
			}
			some, err := f.inStates([]*Device{d}, doing)
			return err == nil && len(some) == 1
		})
	}
	return func(d *Device) bool {
		return slices.ContainsFunc(tests, func(test func(*Device) bool) bool { return test(d) })
	}, f.fault()
}

// finder finds what one set stands for, and what in it there is not.
type finder struct {
	from    source
	user    auth.Name
	sc      scope
	listed  map[word][]*Device
	unknown map[string][]string // names by what they should have been
	misfits []string
}

func newFinder(from source, user auth.Name, sc scope) *finder {
	return &finder{from: from, user: user, sc: sc, listed: map[word][]*Device{}, unknown: map[string][]string{}}
}

// all returns the devices that every one of the words stands for, in any order. They are
// found by keys where a word allows it, else in memory.
func (f *finder) all(words []word) ([]*Device, error) {
	if w := words[0]; len(words) == 1 && !w.not && (w.keyed() || w.by == "") {
		return f.alone(w)
	}
	test, doing, err := f.tests(words)
	if err != nil {
		return nil, err
	}
	by := slices.IndexFunc(words, func(w word) bool { return !w.not && w.keyed() })
	if by < 0 {
		return f.from.picked(test, func(ds []*Device) ([]*Device, error) { return f.inStates(ds, doing) })
	}
	listed, err := f.list(words[by])
	if err != nil {
		return nil, err
	}
	var some []*Device
	for _, d := range listed {
		if test(d) {
			some = append(some, d)
		}
	}
	return f.inStates(some, doing)
}

// alone returns the devices of a word that finds them by keys, or of a keyword: of these,
// a transaction conflicts with whatever makes them more.
func (f *finder) alone(w word) ([]*Device, error) {
	if w.keyed() {
		return f.list(w)
	}
	if w.text == freeNodes {
		return f.from.ownedBy(auth.Nobody)
	}
	test, err := f.test(w)
	if err != nil || w.text == serverKeyword {
		return nil, err
	}
	return f.from.which(test)
}

// list returns the devices of a word that finds them by keys, not to be changed, and notes
// when there is no device of that name.
func (f *finder) list(w word) (some []*Device, err error) {
	w.not = false
	if known, is := f.listed[w]; is {
		return known, nil
	}
	switch {
	case w == word{text: myNodes}:
		some, err = f.from.ownedBy(f.user)
	case w.by == byJob:
		some, err = f.from.ownedBy(f.user)
		some = slices.DeleteFunc(some, func(d *Device) bool { return d.Remarks().Job != Job(w.text) })
	case w.by == byUser:
		if some, err = f.from.ownedBy(auth.Name(w.text)); err == nil && len(some) == 0 {
			err = f.check(w)
		}
	case strings.ContainsAny(w.text, globSigns):
		some, err = f.from.named(w.text)
		if some = slices.DeleteFunc(some, func(d *Device) bool { return !f.sc.holds(d) }); len(some) == 0 {
			f.lacks(f.sc.noun, w.text)
		}
	default:
		var d *Device
		d, err = f.from.device(Name(w.text))
		switch {
		case err != nil:
		case d == nil:
			f.lacks(f.sc.noun, w.text)
		case !f.sc.holds(d):
			f.misfits = append(f.misfits, w.text)
		default:
			some = []*Device{d}
		}
	}
	f.listed[w] = some
	return some, err
}

// tests returns what all of the words want of a device, but for those that want it to be
// doing something.
func (f *finder) tests(words []word) (test func(*Device) bool, doing []word, err error) {
	tests := []func(*Device) bool{f.sc.holds}
	for _, w := range words {
		if w.by == byState {
			doing = append(doing, w)
			continue
		}
		test, err := f.test(w)
		if err != nil {
			return nil, nil, err
		}
		tests = append(tests, func(d *Device) bool { return test(d) != w.not })
	}
	return func(d *Device) bool {
		return !slices.ContainsFunc(tests, func(test func(*Device) bool) bool { return !test(d) })
	}, doing, nil
}

// test returns what tells whether a word without its not: stands for a device, and notes
// what in it there is not.
func (f *finder) test(w word) (func(*Device) bool, error) {
	ownedBy := func(owner auth.Name) func(*Device) bool {
		return func(d *Device) bool { return d.Kind == Node && d.Owner() == owner }
	}
	ofUser := ownedBy(f.user)
	switch w.by {
	case byTag:
		return func(d *Device) bool { return slices.Contains(d.Tags(), w.text) }, f.check(w)
	case byModel:
		return func(d *Device) bool { return d.Model == images.Model(w.text) }, f.check(w)
	case byUser:
		return ownedBy(auth.Name(w.text)), f.check(w)
	case byJob:
		return func(d *Device) bool { return ofUser(d) && d.Remarks().Job == Job(w.text) }, nil
	}
	switch w.text {
	case myNodes:
		return ofUser, nil
	case freeNodes:
		return ownedBy(auth.Nobody), nil
	case "all-nodes":
		return func(d *Device) bool { return d.Kind == Node }, nil
	case "all-switches":
		return func(d *Device) bool { return f.sc.holds(d) && d.Kind == Switch }, nil
	case "all-devices":
		return f.sc.holds, nil
	case "explorable-switches":
		macs, err := power.Explorable(f.from.at().r)
		return func(d *Device) bool { return f.sc.holds(d) && d.Kind == Switch && macs[d.MAC] }, err
	case serverKeyword:
		f.misfits = append(f.misfits, w.text)
		return func(*Device) bool { return false }, nil
	}
	_, err := f.list(w) // for what it notes
	if strings.ContainsAny(w.text, globSigns) {
		return func(d *Device) bool {
			ok, _ := path.Match(w.text, string(d.Name))
			return ok
		}, err
	}
	return func(d *Device) bool { return d.Name == Name(w.text) }, err
}

// check notes when there is no such tag, model or user.
func (f *finder) check(w word) error {
	at := f.from.at()
	known := false
	var err error
	switch w.by {
	case byTag:
		known, err = at.any(func(d *Device) bool { return slices.Contains(d.Tags(), w.text) })
	case byModel:
		known, err = at.any(func(d *Device) bool { return d.Model == images.Model(w.text) })
	case byUser:
		known, err = auth.Exists(at.r, auth.Name(w.text))
	}
	if !known {
		f.lacks(w.by, w.text)
	}
	return err
}

func (f *finder) lacks(noun, name string) {
	if !slices.Contains(f.unknown[noun], name) {
		f.unknown[noun] = append(f.unknown[noun], name)
	}
}

// fault reports what there is not, and what is not what the command is about.
func (f *finder) fault() error {
	var all *fault.Error
	for _, noun := range slices.Sorted(maps.Keys(f.unknown)) {
		err := f.from.at().unknown(noun, f.unknown[noun])
		some := fault.As(err)
		if some == nil {
			return err
		}
		if all != nil {
			some = fault.Failedf("%s; %s", all.Msg, some.Msg).WithHint("%s\n%s", all.Hint, some.Hint)
		}
		all = some
	}
	if all != nil {
		return all
	}
	if len(f.misfits) > 0 {
		not := "not a " + f.sc.noun
		if f.sc == deviceScope { // what is unfit to be a device is the server itself
			not = "not possible with"
		}
		return fault.Failedf("%s: %s", not, strings.Join(f.misfits, ", ")).WithHint("see what each device is with: device show")
	}
	return nil
}

// inStates returns those of the devices that are doing what the words want, which is what
// is shown of them at the moment: the store knows nothing of it.
func (f *finder) inStates(ds []*Device, doing []word) (some []*Device, err error) {
	if len(doing) == 0 {
		return ds, nil
	}
	at := f.from.at()
	page := make([]Glance, 0, min(len(ds), pageSize))
	for ds := range slices.Chunk(ds, pageSize) {
		page = page[:0]
		for _, d := range ds {
			page = append(page, d.brief().glance(0))
		}
		if err := at.lab.addGlances(at.ctx, page); err != nil {
			return nil, err
		}
		for i, d := range ds {
			unlike := func(w word) bool { return (d.Kind == Node && page[i].State == State(w.text)) == w.not }
			if !slices.ContainsFunc(doing, unlike) {
				some = append(some, d)
			}
		}
	}
	return some, nil
}

// keyed reports whether the devices of a word are found without a look at the others.
func (w word) keyed() bool {
	if w.by != "" {
		return w.by == byUser || w.by == byJob
	}
	return w.text == myNodes || !IsKeyword(w.text)
}
