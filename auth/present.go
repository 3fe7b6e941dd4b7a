package auth

import (
	"context"
	"maps"
	"slices"
	"sync"

	"walt/state"
)

// present is who is a user, and by which keys, in memory: each command line asks, and each
// node that boots.
type present struct {
	users    *state.Mirror[record]
	keys     *state.Mirror[Key]
	userRows map[Name]record
	keyRows  map[string]Key // by fingerprint, without what is long and does not matter here

	readmit    chan struct{} // see Users.Readmit
	mu         sync.Mutex    // guards admissions, and is held while rows change
	admissions map[string]*Admission
}

func newPresent(s state.Store) *present {
	p := &present{userRows: map[Name]record{}, keyRows: map[string]Key{}, readmit: make(chan struct{}, 1), admissions: map[string]*Admission{}}
	p.users = state.NewMirror(s, userTable, func(all bool, changes []state.Change[record]) {
		defer p.changed()()
		if all {
			clear(p.userRows)
		}
		for _, c := range changes {
			if delete(p.userRows, Name(c.Key)); c.Row != nil {
				p.userRows[Name(c.Key)] = *c.Row
			}
		}
	})
	p.keys = state.NewMirror(s, keyTable, func(all bool, changes []state.Change[Key]) {
		defer p.changed()()
		if all {
			clear(p.keyRows)
		}
		for _, c := range changes {
			if delete(p.keyRows, c.Key); c.Row != nil {
				p.keyRows[c.Key] = Key{Fingerprint: c.Key, User: c.Row.User, Options: c.Row.Options, Type: c.Row.Type, Blob: c.Row.Blob}
			}
		}
	})
	return p
}

// user returns a user and whether there is one.
func (p *present) user(ctx context.Context, name Name) (u User, found bool, err error) {
	err = p.users.Read(ctx, func() {
		var rec record
		rec, found = p.userRows[name]
		u = rec.User
	})
	return u, found, err
}

// key returns whose a key is, with its options, and whether it is anybody's.
func (p *present) key(ctx context.Context, fingerprint string) (k Key, found bool, err error) {
	err = p.keys.Read(ctx, func() { k, found = p.keyRows[fingerprint] })
	return k, found, err
}

// known are those of the names that are users', in their order; Everybody is all users.
func (p *present) known(names []Name) []Name {
	if slices.Contains(names, Everybody) {
		return slices.Sorted(maps.Keys(p.userRows))
	}
	return slices.DeleteFunc(slices.Clone(names), func(n Name) bool {
		_, found := p.userRows[n]
		return !found
	})
}

// keysOf are the keys of a user, in the order of their coming.
func (p *present) keysOf(name Name) (all []Key) {
	for _, fingerprint := range p.userRows[name].Keys {
		if k, found := p.keyRows[fingerprint]; found && k.User == name {
			all = append(all, k)
		}
	}
	return all
}
