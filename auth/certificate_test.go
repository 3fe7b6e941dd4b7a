package auth

import (
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// certificate makes one that ca signs for the key "card", for alice and now;
// change alters it before.
func certificate(t testing.TB, ca ssh.Signer, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	c := &ssh.Certificate{
		Key:             public("card"),
		KeyId:           "a card",
		CertType:        ssh.UserCert,
		ValidPrincipals: []string{"alice"},
		ValidAfter:      uint64(noon.Add(-time.Minute).Unix()),
		ValidBefore:     uint64(noon.Add(time.Minute).Unix()),
		Permissions:     ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": ""}},
	}
	if change != nil {
		change(c)
	}
	ok(t, c.SignCert(rand.Reader, ca))
	return c
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ca := signer("ca")
	l.SetCA([]ssh.PublicKey{public("old ca"), ca.PublicKey()})
	principals := func(names ...string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) { c.ValidPrincipals = names }
	}
	critical := func(name, value string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{name: value} }
	}
	until := time.Unix(noon.Add(time.Minute).Unix(), 0)
	alice := Login{User: "alice", Admin: true, Key: fingerprint("card"), Certified: true, Expires: until}
	bob := alice
	bob.User, bob.Admin = "bob", false
	command, restricted, dumb, stay := alice, alice, alice, alice
	command.Command, command.Restricted, restricted.Restricted, command.NoForwarding = "whoami", true, true, true
	dumb.NoTerminal, dumb.NoForwarding, stay.NoForwarding = true, true, true
	for _, test := range []struct {
		name    string
		change  func(*ssh.Certificate)
		login   string
		want    Login
		refusal string
	}{
		{"shared name", nil, "walt", alice, ""},
		{"own name", nil, "alice", alice, ""},
		{"another's name", nil, "bob", Login{}, "login name is not a principal"},
		{"one user of several principals", principals("root", "bob", "deploy", "bob", "No/Name"), "walt", bob, ""},
		{"two users", principals("alice", "bob"), "walt", Login{}, "several users: log in as alice or as bob"},
		{"one of two users", principals("alice", "bob"), "bob", bob, ""},
		{"no user", principals("carol"), "walt", Login{}, "no principal of the certificate is a user"},
		{"no user by name", principals("carol"), "carol", Login{}, "no principal of the certificate is a user"},
		{"the shared name as principal", principals("walt"), "walt", Login{}, "no principal"},
		{"no principals", principals(), "walt", Login{}, "has no principals"},
		{"no principals, own name", principals(), "alice", Login{}, "has no principals"},
		{"host certificate", func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, "walt", Login{}, "not a user certificate"},
		{"expired", func(c *ssh.Certificate) { c.ValidBefore = uint64(noon.Unix()) }, "walt", Login{}, "expired"},
		{"too early", func(c *ssh.Certificate) { c.ValidAfter = uint64(noon.Unix()) + 1 }, "walt", Login{}, "not yet valid"},
		{"weak key", func(c *ssh.Certificate) { c.Key = publicRSA(t, 1024) }, "walt", Login{}, "too weak"},
		{"command", critical("force-command", "whoami"), "walt", command, ""},
		{"empty command", critical("force-command", ""), "walt", Login{}, "empty"},
		{"address", critical("source-address", "192.168.0.1,10.0.0.0/8"), "walt", restricted, ""},
		{"other address", critical("source-address", "192.168.0.0/16"), "walt", Login{}, "not allowed from 10.1.2.3"},
		{"no address", critical("source-address", ""), "walt", Login{}, "source-address"},
		{"address with wildcard", critical("source-address", "10.*"), "walt", Login{}, "not a list of networks"},
		{"negated address", critical("source-address", "!10.0.0.1,10.0.0.0/8"), "walt", Login{}, "not a list of networks"},
		{"verify-required", critical("verify-required", ""), "walt", Login{}, `unsupported critical option "verify-required"`},
		{"unknown critical option", critical("x@example.com", ""), "walt", Login{}, `unsupported critical option "x@example.com"`},
		{"no forwards", func(c *ssh.Certificate) { c.Extensions = map[string]string{"permit-pty": ""} }, "walt", stay, ""},
		{"no extensions", func(c *ssh.Certificate) { c.Extensions = nil }, "walt", dumb, ""},
		{"other extensions", func(c *ssh.Certificate) { c.Extensions = map[string]string{"permit-user-rc": ""} }, "walt", dumb, ""},
	} {
		got, err := l.Login(t.Context(), certificate(t, ca, test.change), test.login, home)
		if got != test.want {
			t.Errorf("%s: %+v", test.name, got)
		}
		t.Run(test.name, func(t *testing.T) { checkRefusal(t, err, test.refusal) })
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	login := func(c *ssh.Certificate, why string) {
		t.Helper()
		_, err := l.Login(t.Context(), c, "walt", home)
		checkRefusal(t, err, why)
	}
	good := certificate(t, signer("ca"), nil)
	login(good, "unknown authority") // none is set
	l.SetCA([]ssh.PublicKey{public("ca")})
	login(good, "")
	login(certificate(t, signer("another ca"), nil), "unknown authority")
	login(certificate(t, signer("alice"), nil), "unknown authority") // a user's key signs nothing

	forged := *good
	forged.ValidPrincipals = []string{"bob"}
	login(&forged, "signature does not verify")

	rsaCA, err := ssh.NewSignerFromKey(rsaKey(t, 1024))
	ok(t, err)
	l.SetCA([]ssh.PublicKey{rsaCA.PublicKey()})
	login(good, "unknown authority") // the new set replaces the old one
	login(certificate(t, rsaCA, nil), "")
	sha1, err := ssh.NewSignerWithAlgorithms(rsaCA.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSA})
	ok(t, err)
	login(certificate(t, sha1, nil), "weak algorithm ssh-rsa")
}
