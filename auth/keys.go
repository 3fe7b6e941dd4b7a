package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Key is a public key of a user, as one line of authorized_keys gave it.
type Key struct {
	Fingerprint string    `json:"fingerprint"` // "SHA256:" and the unpadded base64, as ssh-keygen -l shows it
	User        Name      `json:"user"`
	Type        string    `json:"type"` // as in "ssh-ed25519"
	Blob        string    `json:"blob"` // base64 of the wire format (RFC 4253, 6.6)
	Comment     string    `json:"comment,omitempty"`
	Options     string    `json:"options,omitempty"` // as in authorized_keys; "" is no restriction
	Added       time.Time `json:"added"`             // UTC
}

// options returns the options of a stored key; expiry times without a zone are in
// local.
func (k Key) options(local *time.Location) (options, error) {
	o, bad := parseOptions(k.Options, local)
	if bad != nil {
		return o, fmt.Errorf("options of the stored key %s: %w", k.Fingerprint, bad)
	}
	return o, nil
}

// Permit returns a Refusal when the key lets nobody in from there and now, by its
// options. The zone of now is that of expiry times without one.
func (k Key) Permit(from netip.Addr, now time.Time) error {
	o, err := k.options(now.Location())
	if err != nil {
		return err
	}
	return o.permit(from, now)
}

// Expired reports whether the key lets nobody in any more.
func (k Key) Expired(now time.Time) bool {
	o, err := k.options(now.Location())
	return err == nil && o.expired(now)
}

// maxKeys is how many keys a user may have, so that a change of all of them
// with its events is a small transaction.
const maxKeys = 32

const hashPrefix = "SHA256:"

// AddKeys gives name the keys that lines, in the format of authorized_keys,
// hold: all of them or, after a fault, none. Users do that for themselves,
// administrators for everybody.
func (u *Users) AddKeys(ctx context.Context, actor, name Name, lines string) ([]Key, error) {
	added, err := u.parse(name, lines)
	if err != nil {
		return nil, err
	}
	_, err = u.store.Update(ctx, func(tx state.Tx) error {
		if err := authorize(tx, actor, name); err != nil {
			return err
		}
		rec, err := getUser(tx, name)
		if err != nil {
			return err
		}
		return u.attach(tx, actor.Actor(), rec, added)
	})
	return added, err
}

// RemoveKey takes a key, given by its fingerprint, from the user who has it,
// and returns it. Users do that with their own keys, administrators with
// everybody's. The last key of an administrator stays, and so does the last with
// which any of them can log in; the last key of another user can only be taken by
// an administrator, since nobody locks themselves out on purpose.
func (u *Users) RemoveKey(ctx context.Context, actor Name, fingerprint string) (Key, error) {
	if !strings.HasPrefix(fingerprint, hashPrefix) {
		fingerprint = hashPrefix + fingerprint
	}
	var k Key
	_, err := u.store.Update(ctx, func(tx state.Tx) (err error) {
		if k, err = findKey(tx, actor, fingerprint); err != nil {
			return err
		}
		if err := authorize(tx, actor, k.User); err != nil {
			return err
		}
		rec, err := userTable.Get(tx, string(k.User))
		if err != nil {
			return err
		}
		if len(rec.Keys) == 1 && (rec.Admin || actor == k.User) {
			return fault.Failedf("%s is the last key of the %s %s and cannot be removed", fingerprint, title(rec.Admin), k.User).
				WithHint("add another key first: user add-key %s < KEY.pub", k.User)
		}
		rec.Keys = slices.DeleteFunc(rec.Keys, func(f string) bool { return f == fingerprint })
		if err := u.checkStillAdministered(tx, rec, fingerprint); err != nil {
			return err
		}
		if err := userTable.Put(tx, string(k.User), rec); err != nil {
			return err
		}
		if err := keyTable.Delete(tx, fingerprint); err != nil {
			return err
		}
		return u.recordChange(tx, actor.Actor(), k.User, "key removed: "+fingerprint)
	})
	return k, err
}

// checkStillAdministered returns a fault when the user of rec, with the keys that are
// left there, is an administrator who cannot log in, and nor can any other.
func (u *Users) checkStillAdministered(r state.Reader, rec record, removed string) error {
	if !rec.Admin {
		return nil
	}
	if ok, err := u.canLogIn(r, rec.Keys); ok || err != nil {
		return err
	}
	able, _, err := u.otherAdmin(r, rec.Name)
	if err != nil || able != "" {
		return err
	}
	return fault.Failedf("%s is the last key with which an administrator can log in and cannot be removed", removed).
		WithHint("add another key first: user add-key %s < KEY.pub", rec.Name)
}

// findKey returns a key, or a fault that suggests near misses among the keys of
// actor.
func findKey(r state.Reader, actor Name, fingerprint string) (Key, error) {
	k, found, err := keyTable.Find(r, fingerprint)
	if found || err != nil {
		return k, err
	}
	rec, _, err := userTable.Find(r, string(actor))
	if err != nil {
		return Key{}, err
	}
	return Key{}, fault.Unknown("key", []string{fingerprint}, rec.Keys, "see the keys with their fingerprints with: user show")
}

// parse reads the keys of lines for a user.
func (u *Users) parse(name Name, lines string) ([]Key, error) {
	now := u.now()
	parsed, err := parseLines(lines, now)
	for i := range parsed {
		parsed[i].User, parsed[i].Added = name, now.UTC()
	}
	return parsed, err
}

// attach writes the user's row with the added keys, which must be nobody's.
func (u *Users) attach(tx state.Tx, actor journal.Actor, rec record, added []Key) error {
	if len(rec.Keys)+len(added) > maxKeys {
		return fault.Failedf("%s would have %d keys; a user has at most %d", rec.Name, len(rec.Keys)+len(added), maxKeys).
			WithHint("remove those that are not used: user remove-key FINGERPRINT")
	}
	for _, k := range added {
		if err := checkUnused(tx, k, actor); err != nil {
			return err
		}
		if err := keyTable.Put(tx, k.Fingerprint, k); err != nil {
			return err
		}
		if err := u.recordChange(tx, actor, k.User, "key added: "+k.Fingerprint); err != nil {
			return err
		}
		rec.Keys = append(rec.Keys, k.Fingerprint)
	}
	return userTable.Put(tx, string(rec.Name), rec)
}

// checkUnused returns a fault when somebody has the key already.
func checkUnused(r state.Reader, k Key, actor journal.Actor) error {
	old, found, err := keyTable.Find(r, k.Fingerprint)
	switch {
	case err != nil || !found:
		return err
	case old.User != k.User:
		return fault.Failedf("the key %s is taken: it belongs to %s", k.Fingerprint, old.User).
			WithHint("a key belongs to one user; make another with ssh-keygen")
	case actor == k.User.Actor():
		return fault.Failedf("you have the key %s already", k.Fingerprint)
	}
	return fault.Failedf("%s has the key %s already", k.User, k.Fingerprint)
}

// updateOptions gives the wanted keys that their user has already the wanted
// options, and returns those that the user does not have.
func (u *Users) updateOptions(tx state.Tx, wanted []Key) (missing []Key, err error) {
	for _, k := range wanted {
		old, found, err := keyTable.Find(tx, k.Fingerprint)
		switch {
		case err != nil:
			return nil, err
		case !found || old.User != k.User:
			missing = append(missing, k)
			continue
		case old.Options == k.Options:
			continue
		}
		old.Options = k.Options
		if err := keyTable.Put(tx, k.Fingerprint, old); err != nil {
			return nil, err
		}
		if err := u.recordChange(tx, journal.Server, k.User, "key options changed: "+k.Fingerprint); err != nil {
			return nil, err
		}
	}
	return missing, nil
}
