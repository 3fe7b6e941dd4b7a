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
// administrator who can log in remains. Only administrators may. It fails with ErrOneself when
// actor, who could not undo it, is not sure.
func (u *Users) Demote(ctx context.Context, actor, name Name, sure bool) error {
	return u.setAdmin(ctx, actor, name, false, "no longer an administrator", func(tx state.Tx) error {
		err := u.checkOtherAdmin(tx, name, "demoted")
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

// Administered reports whether anybody can log in who manages users.
func (u *Users) Administered(ctx context.Context) (bool, error) {
	return state.Read(ctx, u.store, func(r state.Reader) (bool, error) {
		able, _, err := u.otherAdmin(r, "")
		return able != "", err
	})
}

// checkOtherAdmin returns a fault, that name cannot be removed or the like, unless
// there is an administrator besides who can log in. It reads the rows of one and of
// the keys, so that a concurrent change of that one conflicts.
func (u *Users) checkOtherAdmin(r state.Reader, name Name, verb string) error {
	able, unable, err := u.otherAdmin(r, name)
	switch {
	case err != nil || able != "":
		return err
	case unable != "":
		return fault.Failedf("%s is the last administrator who can log in and cannot be %s", name, verb).
			WithHint("%s is one too, but has no key that is valid: user add-key %s < KEY.pub", unable, unable)
	}
	return fault.Failedf("%s is the last administrator and cannot be %s", name, verb).
		WithHint("make another administrator first: user promote USER")
}

// otherAdmin looks for an administrator, not name, who is able to log in; unable is
// one who is not.
func (u *Users) otherAdmin(r state.Reader, name Name) (able, unable Name, err error) {
	for e, err := range userTable.Scan(r, "", "") {
		if err != nil {
			return "", "", err
		}
		if !e.Value.Admin || e.Value.Name == name {
			continue
		}
		ok, err := u.canLogIn(r, e.Value.Keys)
		if err != nil {
			return "", "", err
		}
		if ok {
			return e.Value.Name, "", nil
		}
		unable = e.Value.Name
	}
	return "", unable, nil
}

// canLogIn reports whether somebody with these keys can log in and do anything: with
// one that has not expired and is not bound to a command, or with a certificate, when
// those are accepted.
func (u *Users) canLogIn(r state.Reader, fingerprints []string) (bool, error) {
	if ca := u.ca.Load(); ca != nil && len(*ca) > 0 {
		return true, nil
	}
	now := u.now()
	for _, f := range fingerprints {
		k, err := keyTable.Get(r, f)
		if err != nil {
			return false, err
		}
		o, err := k.options(now.Location())
		if err != nil {
			return false, err
		}
		if o.command == "" && !o.expired(now) {
			return true, nil
		}
	}
	return false, nil
}
