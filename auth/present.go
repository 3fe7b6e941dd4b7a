package auth

import (
	"context"

	"walt/state"
)

// present is who is a user, and by which keys, in memory: each command line asks.
type present struct {
	users    *state.Mirror[record]
	keys     *state.Mirror[Key]
	userRows map[Name]User
	keyRows  map[string]Key // by fingerprint, without what is long and does not matter here
}

func newPresent(s state.Store) *present {
	p := &present{userRows: map[Name]User{}, keyRows: map[string]Key{}}
	p.users = state.NewMirror(s, userTable, func(all bool, changes []state.Change[record]) {
		if all {
			clear(p.userRows)
		}
		for _, c := range changes {
			if delete(p.userRows, Name(c.Key)); c.Row != nil {
				p.userRows[Name(c.Key)] = c.Row.User
			}
		}
	})
	p.keys = state.NewMirror(s, keyTable, func(all bool, changes []state.Change[Key]) {
		if all {
			clear(p.keyRows)
		}
		for _, c := range changes {
			if delete(p.keyRows, c.Key); c.Row != nil {
				p.keyRows[c.Key] = Key{Fingerprint: c.Key, User: c.Row.User, Options: c.Row.Options}
			}
		}
	})
	return p
}

// user returns a user and whether there is one.
func (p *present) user(ctx context.Context, name Name) (u User, found bool, err error) {
	err = p.users.Read(ctx, func() { u, found = p.userRows[name] })
	return u, found, err
}

// key returns whose a key is, with its options, and whether it is anybody's.
func (p *present) key(ctx context.Context, fingerprint string) (k Key, found bool, err error) {
	err = p.keys.Read(ctx, func() { k, found = p.keyRows[fingerprint] })
	return k, found, err
}
