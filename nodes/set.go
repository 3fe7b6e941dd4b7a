package nodes

import (
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
				WithHint("a set is names, globs and keywords joined by commas without spaces, as in rpi-3,pc-*,my-nodes (see: help show device-sets)")
		}
		terms[i] = strings.ToLower(term)
	}
	return Set{terms}, nil
}

func (s Set) String() string { return strings.Join(s.terms, ",") }

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

func (sc scope) holds(d Device) bool { return sc.kind == "" || d.Kind == sc.kind }

// expand returns the devices that the set stands for, each once, in natural
// order. All unknown names are reported at once.
func (s Set) expand(r state.Reader, user auth.Name, sc scope) ([]Device, error) {
	found, err := s.find(r, user, sc)
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
	slices.SortFunc(found, func(a, b Device) int { return a.Name.Compare(b.Name) })
	return slices.CompactFunc(found, func(a, b Device) bool { return a.Name == b.Name }), nil
}

// find returns the devices of each term, in any order and with repetitions.
func (s Set) find(r state.Reader, user auth.Name, sc scope) ([]Device, error) {
	var all, found []Device
	var bad, misfits []string
	for _, term := range s.terms {
		if term == "my-nodes" || term == "free-nodes" {
			owner := user
			if term == "free-nodes" {
				owner = auth.Nobody
			}
			nodes, err := ownedBy(r, owner)
			if err != nil {
				return nil, err
			}
			found = append(found, nodes...)
			continue
		}
		if term == serverKeyword {
			misfits = append(misfits, term)
			continue
		}
		match := keyword(term)
		if term == "explorable-switches" {
			macs, err := power.Explorable(r)
			if err != nil {
				return nil, err
			}
			match = func(d Device) bool { return d.Kind == Switch && macs[d.MAC] }
		}
		if match == nil && strings.ContainsAny(term, `*?[`) {
			match = func(d Device) bool { ok, _ := path.Match(term, string(d.Name)); return ok }
		}
		if match == nil {
			d, known, err := devices.Find(r, term)
			switch {
			case err != nil:
				return nil, err
			case !known:
				bad = append(bad, term)
			case !sc.holds(d):
				misfits = append(misfits, term)
			default:
				found = append(found, d)
			}
			continue
		}
		if all == nil {
			var err error
			if all, err = everything(r); err != nil {
				return nil, err
			}
		}
		before := len(found)
		for _, d := range all {
			if sc.holds(d) && match(d) {
				found = append(found, d)
			}
		}
		if len(found) == before && !slices.Contains(keywords, term) {
			bad = append(bad, term)
		}
	}
	if len(bad) > 0 {
		return nil, unknown(r, sc.noun, bad)
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

// keyword returns what a keyword selects of all devices, nil for any other term.
func keyword(term string) func(Device) bool {
	switch term {
	case "all-nodes":
		return func(d Device) bool { return d.Kind == Node }
	case "all-switches":
		return func(d Device) bool { return d.Kind == Switch }
	case "all-devices":
		return func(Device) bool { return true }
	}
	return nil
}
