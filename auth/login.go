package auth

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/journal"
	"walt/state"
)

// shared is the login name that everybody may use.
const shared = "walt"

// Login is what a key that was verified stands for.
type Login struct {
	User         Name
	Admin        bool
	Key          string    // SHA256 fingerprint; of a certificate, that of the certified key
	Command      string    // runs whatever the client asks for; "" when the client may choose
	NoTerminal   bool      // the key or the certificate does not permit one
	NoForwarding bool      // it does not permit to reach nodes over its connection
	Restricted   bool      // the key has options, or the certificate critical ones
	Certified    bool      // the key is not the user's own: a certificate vouched for it
	Expires      time.Time // from when on the key or certificate is not valid; zero: always
}

// Refusal is the error of Login when the key does not let anybody in. Its text
// says why, for the log; it is not for the client.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Login finds out who logs in with a key, or with a certificate of an authority
// given to SetCA, under a login name and from an address. The client must have
// proved that it holds the key. The error is a Refusal unless the store failed.
func (u *Users) Login(ctx context.Context, key ssh.PublicKey, login string, from netip.Addr) (Login, error) {
	if cert, ok := key.(*ssh.Certificate); ok {
		return u.loginWithCertificate(ctx, cert, login, from)
	}
	fingerprint := ssh.FingerprintSHA256(key)
	var (
		k     Key
		rec   record
		known bool
	)
	err := u.store.View(ctx, func(r state.Reader) (err error) {
		if k, known, err = keyTable.Find(r, fingerprint); known {
			rec, err = userTable.Get(r, string(k.User))
		}
		return err
	})
	if err != nil {
		return Login{}, err
	}
	if !known {
		return Login{}, Refusal("unknown key")
	}
	if login != shared && login != string(rec.Name) {
		return Login{}, Refusal(fmt.Sprintf("the key belongs to %s, who logs in as %s or %s", rec.Name, shared, rec.Name))
	}
	now := u.now()
	opts, err := k.options(now.Location())
	if err != nil {
		return Login{}, err
	}
	if err := opts.permit(from, now); err != nil {
		return Login{}, err
	}
	return Login{
		User:         rec.Name,
		Expires:      opts.end(),
		Admin:        rec.Admin,
		Key:          fingerprint,
		Command:      opts.command,
		NoTerminal:   opts.noPTY,
		NoForwarding: opts.forwardsNothing(),
		Restricted:   k.Options != "",
	}, nil
}

// Refused records that somebody was not let in: the login name and the
// fingerprint that they offered, and why not. Repeats of one host fold; one with
// IPv6 has a whole /64 to come from.
func (u *Users) Refused(ctx context.Context, login, fingerprint string, from netip.Addr, why string) error {
	if _, err := ParseName(login); err != nil && login != shared {
		login = fmt.Sprintf("%.40q", login) // a stranger chose it
	}
	from = from.Unmap()
	source := from.String()
	if net, err := from.Prefix(64); err == nil && from.Is6() {
		source = net.String()
	}
	return u.journal.Refused(ctx, source, journal.Event{
		Type:   journal.LoginRefused,
		Actor:  journal.Server,
		From:   from.String(),
		To:     login,
		Detail: fingerprint + ": " + why,
	})
}
