// Package auth knows who is behind a public key: the users of the lab, their
// keys, and what a key or a certificate may be used for. It speaks no SSH: the
// caller has verified that the client holds the key. Its one surprising rule:
// a user's row lists the fingerprints of the user's keys, and whatever adds or
// removes a key writes that row too, so that two such changes always conflict.
package auth

import (
	"context"
	"sync/atomic"
	"time"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

// User is one user of the lab.
type User struct {
	Name    Name      `json:"name"`
	Admin   bool      `json:"admin"`
	Created time.Time `json:"created"` // UTC
}

// Account is a user with the user's keys, in the order of their coming.
type Account struct {
	User
	Keys []Key
}

// record is the row of a user.
type record struct {
	User
	Keys []string `json:"keys"` // fingerprints
}

var (
	userTable = state.NewTable[record]("user") // by name
	keyTable  = state.NewTable[Key]("key")     // by fingerprint
)

// Users are the users of one store.
type Users struct {
	store   state.Store
	journal *journal.Journal
	now     func() time.Time
	present *present
	ca      atomic.Pointer[map[string]bool] // marshalled keys of the authorities
}

// New returns the users of the store. now gives the present time, in the time
// zone that the expiry times of keys are written in.
func New(store state.Store, j *journal.Journal, now func() time.Time) *Users {
	return &Users{store: store, journal: j, now: now, present: newPresent(store)}
}

// Add makes a user with the keys that lines, in the format of authorized_keys,
// hold. Only administrators may.
func (u *Users) Add(ctx context.Context, actor, name Name, admin bool, lines string) ([]Key, error) {
	added, err := u.parse(name, lines)
	if err != nil {
		return nil, err
	}
	_, err = u.store.Update(ctx, func(tx state.Tx) error {
		if err := Require(tx, actor); err != nil {
			return err
		}
		switch _, found, err := userTable.Find(tx, string(name)); {
		case err != nil:
			return err
		case name == Everybody || name == "none": // in "node share"
			return fault.Usagef("the user name %q is reserved", name).WithHint("choose another name")
		case found:
			return fault.Failedf("there is a user %s already", name).
				WithHint("give %s another key with: user add-key %s < KEY.pub", name, name)
		}
		rec := record{User: User{Name: name, Admin: admin, Created: u.now().UTC()}}
		if err := u.recordChange(tx, actor.Actor(), name, title(admin)+" added"); err != nil {
			return err
		}
		return u.attach(tx, actor.Actor(), rec, added)
	})
	return added, err
}

// Ensure makes name an administrator who has at least the keys of lines, with
// the options that they have there. What is so already stays as it is.
func (u *Users) Ensure(ctx context.Context, name Name, lines string) error {
	wanted, err := u.parse(name, lines)
	if err != nil {
		return err
	}
	_, err = u.store.Update(ctx, func(tx state.Tx) error {
		rec, found, err := userTable.Find(tx, string(name))
		var change string
		switch {
		case err != nil:
			return err
		case !found:
			rec.User = User{Name: name, Created: u.now().UTC()}
			change = title(true) + " added"
		case !rec.Admin:
			change = "made an administrator"
		}
		missing, err := u.updateOptions(tx, wanted)
		if err != nil || change == "" && len(missing) == 0 {
			return err
		}
		rec.Admin = true
		if change != "" {
			if err := u.recordChange(tx, journal.Server, name, change); err != nil {
				return err
			}
		}
		return u.attach(tx, journal.Server, rec, missing)
	})
	return err
}

// List returns all users, ordered by name.
func (u *Users) List(ctx context.Context) ([]Account, error) {
	return state.Read(ctx, u.store, func(r state.Reader) (all []Account, err error) {
		for e, err := range userTable.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			a, err := account(r, e.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
		return all, nil
	})
}

// Get returns one user, or a fault that suggests near misses.
func (u *Users) Get(ctx context.Context, name Name) (Account, error) {
	return state.Read(ctx, u.store, func(r state.Reader) (Account, error) {
		rec, err := getUser(r, name)
		if err != nil {
			return Account{}, err
		}
		return account(r, rec)
	})
}

// Check returns the user as it is now, and a fault when name is no user, as
// somebody is not who was removed while connected.
func (u *Users) Check(ctx context.Context, name Name) (User, error) {
	user, found, err := u.present.user(ctx, name)
	if err == nil && !found {
		err = noUser(name)
	}
	return user, err
}

// CheckKey is Check for one who logged in with a key, which may have expired or
// been removed since: somebody else can have the name by now.
func (u *Users) CheckKey(ctx context.Context, name Name, fingerprint string) (User, error) {
	user, err := u.Check(ctx, name)
	if err != nil {
		return user, err
	}
	k, found, err := u.present.key(ctx, fingerprint)
	if err == nil && (!found || k.User != name) {
		err = fault.Failedf("the key %s that you logged in with was removed", fingerprint).WithHint("log in with another one, or ask an administrator")
	}
	if err != nil {
		return user, err
	}
	now := u.now()
	opts, err := k.options(now.Location())
	if err == nil && opts.expired(now) {
		err = fault.Failedf("the key %s that you logged in with expired at %s", fingerprint, opts.expires.Format(time.RFC3339)).
			WithHint("log in with another one, or ask an administrator")
	}
	return user, err
}

// Member is Check within a transaction.
func Member(r state.Reader, name Name) error {
	found, err := Exists(r, name)
	if err == nil && !found {
		err = noUser(name)
	}
	return err
}

func noUser(name Name) error {
	return fault.Failedf("%s is no longer a user of this lab", name).WithHint("ask an administrator")
}

// Exists reports whether there is a user of the name.
func Exists(r state.Reader, name Name) (bool, error) {
	return userTable.Has(r, string(name))
}

// Hold is a fault when there is no user of the name, and has the transaction conflict with
// one that removes the user: for records of users that no table lists.
func Hold(tx state.Tx, name Name) error {
	rec, err := getUser(tx, name)
	if err != nil {
		return err
	}
	return userTable.Put(tx, string(name), rec)
}

// Require returns a fault unless actor is an administrator.
func Require(r state.Reader, actor Name) error { return authorize(r, actor, "") }

// Delete removes a user and the user's keys within tx, where actor is an
// administrator and another one who can log in remains. The nodes and images of the
// user, and the event that tells of it all, are the caller's.
func (u *Users) Delete(tx state.Tx, actor, name Name) error {
	if err := Require(tx, actor); err != nil {
		return err
	}
	rec, err := getUser(tx, name)
	if err != nil {
		return err
	}
	if rec.Admin {
		if err := u.checkOtherAdmin(tx, name, "removed"); err != nil {
			return err
		}
	}
	for _, fingerprint := range rec.Keys {
		if err := keyTable.Delete(tx, fingerprint); err != nil {
			return err
		}
	}
	return userTable.Delete(tx, string(name))
}

// authorize returns a fault unless actor is an administrator or, for what
// belongs to a user, its owner.
func authorize(r state.Reader, actor, owner Name) error {
	rec, found, err := userTable.Find(r, string(actor))
	if err == nil && !found {
		return fault.Failedf("%s is no longer a user of this lab", actor).WithHint("ask an administrator")
	}
	if err != nil || rec.Admin || actor == owner {
		return err
	}
	refusal := fault.Failedf("only administrators manage users")
	if owner != "" {
		refusal = fault.Failedf("only administrators manage the keys of others, here of %s", owner)
	}
	return refusal.WithHint("ask an administrator; see who is one with: user show")
}

// getUser returns the row of a user, or a fault that suggests near misses.
func getUser(r state.Reader, name Name) (record, error) {
	rec, found, err := userTable.Find(r, string(name))
	if found || err != nil {
		return rec, err
	}
	known, err := userTable.AllKeys(r, "")
	if err != nil {
		return rec, err
	}
	return rec, fault.Unknown("user", []string{string(name)}, known, "see all users with: user show")
}

func account(r state.Reader, rec record) (Account, error) {
	a := Account{User: rec.User}
	for _, fingerprint := range rec.Keys {
		k, err := keyTable.Get(r, fingerprint)
		if err != nil {
			return a, err
		}
		a.Keys = append(a.Keys, k)
	}
	return a, nil
}

// recordChange writes the event that something about the user changed.
func (u *Users) recordChange(tx state.Tx, actor journal.Actor, name Name, change string) error {
	return u.journal.Record(tx, journal.Event{Type: journal.User, Actor: actor, To: string(name), Detail: change})
}

func title(admin bool) string {
	if admin {
		return "administrator"
	}
	return "user"
}
