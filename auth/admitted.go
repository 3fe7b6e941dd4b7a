package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// Admission is who some users are where they come in by their own keys, as on nodes.
type Admission struct {
	// Lines are of authorized_keys, see sshd(8): keys, and authorities whose certificates
	// count for the users. They have no comments but the names of users.
	Lines []string
	// Version names the lines.
	Version string
	// Until is when the first of the keys expires; zero: none does.
	Until time.Time
}

const (
	// mostAdmitted is how many bytes the lines of an Admission have at most: thousands of
	// Ed25519 keys. Users whose names come later have no more of them then.
	mostAdmitted = 512 << 10
	// principalsAtOnce is how many users one line for an authority names: OpenSSH's server
	// had a limit of 8 KiB for a line.
	principalsAtOnce = 100
	// mostKept is how many of them are kept.
	mostKept = 256
)

// Admitted returns who the users are, who are all when one of them is Everybody. Names that
// are no user's are nobody's. What is returned is shared: it is not to be changed.
//
// A key that runs one command is left out, and so is one that has expired. The option from is
// dropped, since nodes are reached through this server, which heeds it; what takes terminals
// and forwards away goes with the key.
func (u *Users) Admitted(ctx context.Context, users ...Name) (*Admission, error) {
	if err := u.present.follow(ctx); err != nil {
		return nil, err
	}
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	if slices.Contains(users, Everybody) {
		users = []Name{Everybody}
	}
	return u.present.admission(users, u.now(), u.authorities()), nil
}

// Admits reports whether a key, or a certificate of an authority, is that of one of the users,
// as Admitted has them. The client must have proved that it holds the key. A certificate that
// counts from some addresses alone does not: nodes see that of this server.
func (u *Users) Admits(ctx context.Context, key ssh.PublicKey, users ...Name) (bool, error) {
	is := func(name Name) (bool, error) {
		if !slices.Contains(users, name) && !slices.Contains(users, Everybody) {
			return false, nil
		}
		_, found, err := u.present.user(ctx, name)
		return found, err
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		o, err := u.checkCertificate(cert)
		if err != nil || o.command != "" || o.from != nil {
			return false, nil // whoever it is, it is nobody here
		}
		for _, p := range cert.ValidPrincipals {
			if ok, err := is(Name(p)); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	k, found, err := u.present.key(ctx, ssh.FingerprintSHA256(key))
	if err != nil || !found {
		return false, err
	}
	if o, err := k.options(u.now().Location()); err != nil || o.command != "" || o.expired(u.now()) {
		return false, err
	}
	return is(k.User)
}

// Run keeps what Admitted returns up to date while nobody asks, until ctx ends.
func (u *Users) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.present.users.Run(ctx) })
	g.Go(func() error { return u.present.keys.Run(ctx) })
	return g.Wait()
}

// OnNodes says how nodes treat the key otherwise than this server does; "" when they do not.
func (k Key) OnNodes(now time.Time) string {
	o, err := k.options(now.Location())
	switch {
	case err != nil:
		return ""
	case o.command != "":
		return "it is not let in, since it runs one command"
	case o.from != nil:
		return "its option from does not count there, since the way to them is this server"
	}
	return ""
}

// Readmit receives after something changed in what Admitted returns, while Run runs.
func (u *Users) Readmit() <-chan struct{} { return u.present.readmit }

// authorities are those whose certificates are accepted, in the form of lines.
func (u *Users) authorities() (all []string) {
	ca := u.ca.Load()
	if ca == nil {
		return nil
	}
	for _, blob := range slices.Sorted(maps.Keys(*ca)) {
		if key, err := ssh.ParsePublicKey([]byte(blob)); err == nil { // it was one
			all = append(all, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
		}
	}
	return all
}

// follow has everything know what was committed before.
func (p *present) follow(ctx context.Context) error {
	return cmp.Or(p.users.Read(ctx, func() {}), p.keys.Read(ctx, func() {}))
}

// changed begins a change of rows; what it returns ends it, and forgets what was made of
// those before.
func (p *present) changed() (done func()) {
	p.mu.Lock()
	return func() {
		clear(p.admissions)
		p.mu.Unlock()
		select {
		case p.readmit <- struct{}{}:
		default:
		}
	}
}

// admission returns that of users, which many ask for: it is made once.
func (p *present) admission(users []Name, now time.Time, authorities []string) *Admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := fmt.Sprint(users)
	a := p.admissions[who]
	if a == nil || !a.Until.IsZero() && !now.Before(a.Until) {
		if len(p.admissions) >= mostKept {
			clear(p.admissions)
		}
		a = p.newAdmission(users, now, authorities)
		p.admissions[who] = a
	}
	return a
}

func (p *present) newAdmission(users []Name, now time.Time, authorities []string) *Admission {
	a := &Admission{}
	size := 0
	add := func(line string) {
		if size+len(line) <= mostAdmitted {
			size += len(line)
			a.Lines = append(a.Lines, line)
		}
	}
	users = p.known(users)
	for _, ca := range authorities {
		for some := range slices.Chunk(users, principalsAtOnce) {
			add(fmt.Sprintf("cert-authority,principals=%q %s", joined(some), ca))
		}
	}
	for _, name := range users {
		for _, k := range p.keysOf(name) {
			o, err := k.options(now.Location())
			if err != nil || o.command != "" || o.expired(now) {
				continue
			}
			if end := o.end(); !end.IsZero() && (a.Until.IsZero() || end.Before(a.Until)) {
				a.Until = end
			}
			add(fmt.Sprintf("%s%s %s %s", o.withheld(), k.Type, k.Blob, name))
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(a.Lines, "\n")))
	a.Version = base64.RawURLEncoding.EncodeToString(sum[:12])
	return a
}

// withheld are the options that go with a key wherever it is let in, with a blank behind them.
func (o options) withheld() string {
	var all []string
	if o.noPTY {
		all = append(all, "no-pty")
	}
	if o.noForwards {
		all = append(all, "no-port-forwarding", "no-agent-forwarding", "no-X11-forwarding")
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, ",") + " "
}

func joined(names []Name) string {
	var all []string
	for _, n := range names {
		all = append(all, string(n))
	}
	return strings.Join(all, ",")
}
