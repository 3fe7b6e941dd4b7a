package nodes

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// source is where a set finds its devices: in a transaction that decides
// something (stored), or in the view, for what is only shown (seen).
type source interface {
	device(Name) (*Device, error)         // nil: there is none
	ownedBy(auth.Name) ([]*Device, error) // in natural order
	// which returns those that are wanted of all that there are.
	which(wanted func(*Device) bool) ([]*Device, error)
	named(glob string) ([]*Device, error)
	// picked returns those that are wanted of those in memory, and of these what few
	// leaves, if they are there and wanted still. With what comes at the same time, a
	// transaction that asks for them does not conflict.
	picked(wanted func(*Device) bool, few func([]*Device) ([]*Device, error)) ([]*Device, error)
	at() place
}

// place is where a source reads.
type place struct {
	ctx context.Context
	lab *Lab
	r   state.Reader
}

func (p place) at() place { return p }

// any reports whether the view has a device that is wanted.
func (p place) any(wanted func(*Device) bool) (bool, error) {
	return read(p.ctx, p.lab.view, func() bool {
		return slices.ContainsFunc(p.lab.view.all, func(b brief) bool { return wanted(b.device) })
	})
}

// unknown is the fault for names of a noun that there are not.
func (p place) unknown(noun string, names []string) error {
	if slices.Contains(setWords, noun) {
		known, hint, err := p.known(noun)
		return cmp.Or(err, error(fault.Unknown(noun, names, known, hint)))
	}
	err := unknown(p.r, noun, names)
	f := fault.As(err)
	if f == nil {
		return err
	}
	hints := []string{f.Hint}
	for _, by := range setWords {
		known, _, err := p.known(by)
		if err != nil {
			return err
		}
		for _, name := range names {
			if slices.Contains(known, name) {
				hints = append(hints, fmt.Sprintf("did you mean %s:%s instead of %[2]s?", by, name))
			}
		}
	}
	return f.WithHint("%s", strings.Join(hints, "\n"))
}

// known returns what there is to say behind tag: and its like, and where that is seen.
func (p place) known(by string) (names []string, hint string, err error) {
	switch by {
	case byTag:
		if names, err = p.lab.Tags(p.ctx); len(names) == 0 {
			return names, "no device has a tag; mark some with: device tag SET TAG", err
		}
		hint = "the tags are " + fault.Few(names)
	case byModel:
		models, failed := p.lab.Models(p.ctx)
		names, hint, err = images.ModelNames(models), "see the models with: node show --all", failed
	case byUser:
		var users []auth.Account
		users, err = p.lab.Users.List(p.ctx)
		for _, u := range users {
			names = append(names, string(u.Name))
		}
		hint = "see all users with: user show"
	case byState:
		for _, s := range States() {
			names = append(names, string(s))
		}
	}
	return names, hint, err
}

// stored are the devices that a transaction reads. It is no Reader itself: tables
// have to see whether they are read by an update.
type stored struct {
	place
	most int // of the nodes of one owner no more are read than the first so many; 0: all are
}

// stored returns the devices as r reads them.
func (l *Lab) stored(ctx context.Context, r state.Reader) stored {
	return stored{place: place{ctx, l, r}}
}

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

func (s stored) picked(wanted func(*Device) bool, few func([]*Device) ([]*Device, error)) (found []*Device, err error) {
	candidates, err := seen{s.place}.picked(wanted, few)
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if d, err := s.device(c.Name); err != nil {
			return nil, err
		} else if d != nil && wanted(d) {
			found = append(found, d)
		}
	}
	return found, nil
}
