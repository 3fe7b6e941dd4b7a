package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/state"
)

// Critical options of certificates and the extensions that matter here, as in
// OpenSSH's PROTOCOL.certkeys.
const (
	forceCommand  = "force-command"
	sourceAddress = "source-address"
	permitPTY     = "permit-pty"
	permitForward = "permit-port-forwarding"
)

// SetCA replaces the authorities whose certificates are accepted; none at first.
func (u *Users) SetCA(keys []ssh.PublicKey) {
	ca := make(map[string]bool, len(keys))
	for _, k := range keys {
		ca[string(k.Marshal())] = true
	}
	defer u.present.changed()()
	u.ca.Store(&ca)
}

// loginWithCertificate is Login for a certificate.
func (u *Users) loginWithCertificate(ctx context.Context, cert *ssh.Certificate, login string, from netip.Addr) (Login, error) {
	opts, err := u.checkCertificate(cert)
	if err != nil {
		return Login{}, Refusal(fmt.Sprintf("certificate %.60q: %s", cert.KeyId, err))
	}
	if err := opts.permit(from, u.now()); err != nil {
		return Login{}, err
	}
	user, err := state.Read(ctx, u.store, func(r state.Reader) (User, error) {
		return userOfPrincipals(r, cert.ValidPrincipals, login)
	})
	if err != nil {
		return Login{}, err
	}
	var expires time.Time
	if cert.ValidBefore < 1<<62 { // ssh.CertTimeInfinity is beyond
		expires = time.Unix(int64(cert.ValidBefore), 0)
	}
	return Login{
		Expires:      expires,
		User:         user.Name,
		Admin:        user.Admin,
		Key:          ssh.FingerprintSHA256(cert.Key),
		Certified:    true,
		Command:      opts.command,
		NoTerminal:   opts.noPTY,
		NoForwarding: opts.forwardsNothing(),
		Restricted:   len(cert.CriticalOptions) > 0,
	}, nil
}

// checkCertificate verifies a certificate for the present time and returns its
// options.
func (u *Users) checkCertificate(cert *ssh.Certificate) (options, error) {
	var o options
	if cert.CertType != ssh.UserCert {
		return o, errors.New("not a user certificate")
	}
	if ca := u.ca.Load(); ca == nil || !(*ca)[string(cert.SignatureKey.Marshal())] {
		return o, errors.New("signed by an unknown authority")
	}
	if f := cert.Signature.Format; f == ssh.KeyAlgoRSA || f == algoDSA {
		return o, fmt.Errorf("signed with the weak algorithm %s", f)
	}
	if len(cert.ValidPrincipals) == 0 { // which would be valid for everybody
		return o, errors.New("it has no principals")
	}
	checker := ssh.CertChecker{
		Clock:                    u.now,
		SupportedCriticalOptions: []string{forceCommand, sourceAddress},
	}
	// Any principal of its own: which user it is depends on the login name.
	if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return o, err
	}
	if err := checkStrength(cert.Key, u.now()); err != nil {
		return o, err
	}
	o, err := criticalOptions(cert.CriticalOptions)
	_, pty := cert.Extensions[permitPTY]
	_, forward := cert.Extensions[permitForward]
	o.noPTY, o.noForwards = !pty, !forward
	return o, err
}

// notAKey says what somebody sent who sent a certificate in the place of a key.
func notAKey(cert *ssh.Certificate, now time.Time) *fault.Error {
	what, of := "an SSH certificate for nobody in particular", "a user"
	if len(cert.ValidPrincipals) > 0 {
		what = fmt.Sprintf("an SSH certificate for %.60q", strings.Join(cert.ValidPrincipals, ", "))
	}
	if cert.CertType != ssh.UserCert {
		of = "a host"
	}
	valid := "valid for ever"
	if cert.ValidBefore <= math.MaxUint32 {
		end := time.Unix(int64(cert.ValidBefore), 0).UTC()
		valid = "valid until " + end.Format(time.RFC3339)
		if !now.Before(end) {
			valid = "which expired at " + end.Format(time.RFC3339)
		}
	}
	if begin := time.Unix(int64(min(cert.ValidAfter, math.MaxUint32)), 0).UTC(); now.Before(begin) {
		valid += ", but not before " + begin.Format(time.RFC3339)
	}
	const hint = "send the key that it certifies, the .pub file without -cert in its name\n" +
		"certificates are not registered: whoever has one that is valid logs in with it when user_ca, in the server's configuration, names its authority (see: help show admin)"
	return fault.Usagef("%s as %s, %s: not a key", what, of, valid).WithHint(hint)
}

func criticalOptions(critical map[string]string) (o options, err error) {
	if command, ok := critical[forceCommand]; ok {
		checked, bad := parseCommand(command)
		if bad != nil {
			return o, fmt.Errorf("%s: %w", forceCommand, bad)
		}
		o.command = checked
	}
	if list, ok := critical[sourceAddress]; ok {
		patterns, bad := parsePatterns(list)
		if bad != nil {
			return o, fmt.Errorf("%s: %w", sourceAddress, bad)
		}
		for _, p := range patterns { // only addresses and networks here
			if p.not || p.glob != "" {
				return o, fmt.Errorf("%s: %.60q is not a list of networks", sourceAddress, list)
			}
		}
		o.from = patterns
	}
	return o, nil
}

// userOfPrincipals returns the user whom the principals of a certificate stand
// for under a login name: the user of that name, who must be one of them or,
// under the shared name, the only one of them who is a user.
func userOfPrincipals(r state.Reader, principals []string, login string) (User, error) {
	if login != shared {
		if !slices.Contains(principals, login) {
			return User{}, Refusal("the login name is not a principal of the certificate")
		}
		principals = []string{login}
	}
	var found User
	for _, p := range principals {
		name, err := ParseName(p)
		if err != nil || name == found.Name {
			continue
		}
		rec, known, err := userTable.Find(r, string(name))
		switch {
		case err != nil:
			return User{}, err
		case !known:
			continue
		case found.Name != "":
			return User{}, Refusal(fmt.Sprintf("the certificate is for several users: log in as %s or as %s", found.Name, name))
		}
		found = rec.User
	}
	if found.Name == "" {
		return User{}, Refusal("no principal of the certificate is a user")
	}
	return found, nil
}
