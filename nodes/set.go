package nodes

import (
	"cmp"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/power"
	"walt/state"
)

// Set is a parsed expression that stands for several devices: names, globs and
// keywords joined by commas. What it stands for is found inside the transaction
// that uses it.
type Set struct {
	terms []string
}

var termForm = regexp.MustCompile(`^[a-zA-Z0-9*?\[][a-zA-Z0-9*?\[\]^-]*$`)

// ParseSet checks the form of an expression.
func ParseSet(s string) (Set, error) {
	terms := strings.Split(s, ",")
	for i, term := range terms {
		if _, err := path.Match(term, ""); err != nil || !termForm.MatchString(term) {
			return Set{}, fault.Usagef("invalid device set %q", s).
				WithHint("a set is names, globs and keywords joined by commas without spaces,\nas in rpi-3,pc-*,my-nodes (see: help show device-sets)")
		}
		terms[i] = strings.ToLower(term)
	}
	return Set{terms}, nil
}

func (s Set) String() string { return strings.Join(s.terms, ",") }

// myNodes stands for the nodes of the user who types it.
const myNodes = "my-nodes"

// serverKeyword stands for the server, which has no record of its own.
const serverKeyword = "server"

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
	found, err := s.eachTerm(from, user, sc)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		hint := "see all devices with: device show"
		if sc == nodeScope {
			hint = "see all nodes with: node show --all"
		}
		return nil, fault.Failedf("the set %q is empty", s).WithHint("%s", hint)
	}
	slices.SortFunc(found, naturally)
	return slices.CompactFunc(found, func(a, b *Device) bool { return a.Name == b.Name }), nil
}

// all reports whether the set is but a keyword that selects all devices of a kind, or all
// when that is "": nothing of them needs to be looked for.
func (s Set) all(sc scope) (Kind, bool) {
	switch s.String() {
	case "all-nodes":
		return Node, true
	case "all-devices":
		return sc.kind, true
	}
	return "", false
}

// eachTerm returns the devices of each term, in any order and with repetitions.
func (s Set) eachTerm(from source, user auth.Name, sc scope) ([]*Device, error) {
	var found []*Device
	var bad, misfits []string
	for _, term := range s.terms {
		var some []*Device
		match, err := selects(from, term)
		switch {
		case err != nil:
		case term == myNodes:
			some, err = from.ownedBy(user)
		case term == "free-nodes":
			some, err = from.ownedBy(auth.Nobody)
		case term == serverKeyword:
			misfits = append(misfits, term)
		case match != nil:
			some, err = from.which(func(d *Device) bool { return sc.holds(d) && match(d) })
		case strings.ContainsAny(term, globSigns):
			some, err = from.named(term)
			if some = slices.DeleteFunc(some, func(d *Device) bool { return !sc.holds(d) }); len(some) == 0 {
				bad = append(bad, term)
			}
		default:
			var d *Device
			d, err = from.device(Name(term))
			switch {
			case err != nil:
			case d == nil:
				bad = append(bad, term)
			case !sc.holds(d):
				misfits = append(misfits, term)
			default:
				some = []*Device{d}
			}
		}
		if err != nil {
			return nil, err
		}
		if found == nil {
			found = some
		} else {
			found = append(found, some...)
		}
	}
	if len(bad) > 0 {
		return nil, unknown(from.reader(), sc.noun, bad)
	}
	if len(misfits) > 0 {
		not := "not a " + sc.noun
		if sc == deviceScope { // what is unfit to be a device is the server itself
			not = "not possible with"
		}
		return nil, fault.Failedf("%s: %s", not, strings.Join(misfits, ", ")).WithHint("see what each device is with: device show")
	}
	return found, nil
}

// globSigns are in a term that is a glob.
const globSigns = `*?[`

// selects returns what a keyword selects of all devices, nil for other terms.
func selects(from source, term string) (func(*Device) bool, error) {
	switch term {
	case "all-nodes":
		return func(d *Device) bool { return d.Kind == Node }, nil
	case "all-switches":
		return func(d *Device) bool { return d.Kind == Switch }, nil
	case "all-devices":
		return func(*Device) bool { return true }, nil
	case "explorable-switches":
		macs, err := power.Explorable(from.reader())
		return func(d *Device) bool { return d.Kind == Switch && macs[d.MAC] }, err
	}
	return nil, nil
}

// source is where a set finds its devices: in a transaction that decides
// something (stored), or in the view, for what is only shown (seen).
type source interface {
	device(Name) (*Device, error)         // nil: there is none
	ownedBy(auth.Name) ([]*Device, error) // in natural order
	which(wanted func(*Device) bool) ([]*Device, error)
	named(glob string) ([]*Device, error)
	reader() state.Reader
}

// stored are the devices that a transaction reads. It is no Reader itself: tables
// have to see whether they are read by an update.
type stored struct {
	r    state.Reader
	most int // of the nodes of one owner no more are read than the first so many; 0: all are
}

func (s stored) reader() state.Reader { return s.r }

func (s stored) device(n Name) (*Device, error) {
	d, known, err := devices.Find(s.r, string(n))
	if !known {
		return nil, err
	}
	return &d, err
}

func (s stored) ownedBy(owner auth.Name) ([]*Device, error) {
	all, err := firstOwnedBy(s.r, owner, cmp.Or(s.most, math.MaxInt))
	return pointers(all), err
}

func (s stored) which(wanted func(*Device) bool) ([]*Device, error) {
	all, err := everything(s.r)
	return slices.DeleteFunc(pointers(all), func(d *Device) bool { return !wanted(d) }), err
}

// named reads no names but those that begin as the glob does, and no devices but those
// that it matches.
func (s stored) named(glob string) (found []*Device, err error) {
	for name, err := range devices.Keys(s.r, glob[:strings.IndexAny(glob, globSigns)], "") {
		if err != nil {
			return nil, err
		}
		if ok, _ := path.Match(glob, name); !ok {
			continue
		}
		d, err := devices.Get(s.r, name)
		if err != nil {
			return nil, err
		}
		found = append(found, &d)
	}
	return found, nil
}
