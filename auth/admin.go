package auth

import (
	"context"
	"errors"

	"walt/fault"
	"walt/state"
)

// ErrOneself is the error of Demote for administrators who demote themselves and
// did not say that they are sure.
var ErrOneself = errors.New("administrators who demote themselves must be sure")

// Promote makes a user an administrator. Only administrators may.
func (u *Users) Promote(ctx context.Context, actor, name Name) error {
	return u.setAdmin(ctx, actor, name, true, "made an administrator", func(state.Tx) error { return nil })
}

// Demote takes from a user, perhaps from actor, what administrators may; one
// administrator remains. Only administrators may. It fails with ErrOneself when
// actor, who could not undo it, is not sure.
func (u *Users) Demote(ctx context.Context, actor, name Name, sure bool) error {
	return u.setAdmin(ctx, actor, name, false, "no longer an administrator", func(tx state.Tx) error {
		err := checkOtherAdmin(tx, name, "demoted")
		if err == nil && actor == name && !sure {
			err = ErrOneself
		}
		return err
	})
}

// setAdmin changes whether a user is an administrator, when check allows it.
func (u *Users) setAdmin(ctx context.Context, actor, name Name, admin bool, change string, check func(state.Tx) error) error {
	_, err := u.store.Update(ctx, func(tx state.Tx) error {
		if err := Require(tx, actor); err != nil {
			return err
		}
		rec, err := getUser(tx, name)
		switch {
		case err != nil:
			return err
		case rec.Admin == admin && admin:
			return fault.Failedf("%s is an administrator already", name)
		case rec.Admin == admin:
			return fault.Failedf("%s is no administrator", name).WithHint("see who is one with: user show")
		}
		if err := check(tx); err != nil {
			return err
		}
		rec.Admin = admin
		if err := userTable.Put(tx, string(name), rec); err != nil {
			return err
		}
		return u.recordChange(tx, actor.Actor(), name, change)
	})
	return err
}

// Administered reports whether anybody can log in who manages users: an
// administrator with a key that has not expired and is not bound to a command, or
// with a certificate, when those are accepted.
func (u *Users) Administered(ctx context.Context) (bool, error) {
	all, err := u.List(ctx)
	if err != nil {
		return false, err
	}
	ca := u.ca.Load()
	now := u.now()
	for _, a := range all {
		if a.Admin && ca != nil && len(*ca) > 0 {
			return true, nil
		}
		for _, k := range a.Keys {
			o, err := k.options(now.Location())
			if err != nil {
				return false, err
			}
			if a.Admin && o.command == "" && !o.expired(now) {
				return true, nil
			}
		}
	}
	return false, nil
}
