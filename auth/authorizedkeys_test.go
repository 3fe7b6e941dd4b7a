package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestLines(t *testing.T) {
	t.Parallel()
	text := "\ufeff# the team\r\n\r\n" + line("a") +
		"  \t" + strings.ReplaceAll(strings.TrimSpace(line("b")), " ", "\t \t") + " at\twork \r\n" +
		`command="say \"hi there\"",from="10.0.*" ` + line("c") +
		strings.Join(strings.Fields(line("d"))[:2], " ")
	got, err := parseLines(text, noon.UTC())
	ok(t, err)
	var want []Key
	for _, k := range []Key{
		{Comment: "a@home"},
		{Comment: "b@home at work"},
		{Comment: "c@home", Options: `command="say \"hi there\"",from="10.0.*"`},
		{},
	} {
		name := string("abcd"[len(want)])
		k.Fingerprint, k.Type, k.Blob = fingerprint(name), ssh.KeyAlgoED25519, strings.Fields(line(name))[1]
		want = append(want, k)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	good := strings.TrimSpace(line("a"))
	blob := strings.Fields(good)[1]
	private, err := ssh.MarshalPrivateKey(rsaKey(t, 1024), "")
	ok(t, err)
	for _, test := range []struct{ text, says string }{
		{"", "[OPTIONS] TYPE BASE64"},
		{" \n# nothing\n", "no public key"},
		{"hello", "line 1: not a public key"},
		{"hello world again", "line 1: not a public key"},
		{blob, "not a public key"},
		{"ssh-ed25519", "not a public key"},
		{"\n\nno-touch-required " + good, `line 3: unknown option "no-touch-required"`},
		{`bind="x" ` + good, `allowed are from=`},
		{`from="10.0.0.1" command="a" ` + good, "not a public key"},
		{`command="a ` + good, "quote is not closed"},
		{good + "\nssh-ed25519 AAAA", "line 2: the ssh-ed25519 key is damaged"},
		{"ssh-ed25519 ====", "not base64"},
		{"ssh-rsa " + blob, "the ssh-rsa key is damaged"},
		{"ssh-ed448 " + blob, "not accepted"},
		{good + "\n\n" + good, "line 3: the same key as in line 1"},
		{good + "\x1b[2J", "U+001B"},
		{good + " \u202egnp.exe", "U+202E"},
		{"command=\"a\x07\" " + good, "U+0007"},
		{good + "\x00", "U+0000"},
		{good + " \xff", "UTF-8"},
		{good + strings.Repeat("x", maxLine), "longer than 8192 bytes"},
		{strings.Repeat("#\n", MaxInput/2+1), "larger than 256 KiB"},
		{string(ssh.MarshalAuthorizedKey(publicRSA(t, 1024))), "1024 bits is too weak"},
		{string(ssh.MarshalAuthorizedKey(certificate(t, signer("a"), nil))), "an SSH certificate for \"alice\" as a user, valid until 2026-"},
		{string(ssh.MarshalAuthorizedKey(certificate(t, signer("a"), func(c *ssh.Certificate) {
			c.ValidBefore = uint64(noon.Unix())
		}))), "as a user, which expired at 2026-03-14T10:00:00Z: not a key"},
		{string(ssh.MarshalAuthorizedKey(certificate(t, signer("a"), func(c *ssh.Certificate) {
			c.ValidAfter, c.ValidBefore = uint64(noon.Unix())+1, ssh.CertTimeInfinity
		}))), "as a user, valid for ever, but not before 2026-03-14T10:00:01Z: not a key"},
		{string(ssh.MarshalAuthorizedKey(certificate(t, signer("a"), func(c *ssh.Certificate) {
			c.CertType, c.ValidPrincipals, c.ValidBefore = ssh.HostCert, nil, ssh.CertTimeInfinity
		}))), "an SSH certificate for nobody in particular as a host, valid for ever: not a key"},
		{"ssh-dss " + dsa, "DSA"},
		{string(pem.EncodeToMemory(private)), "ends in .pub"},
		{"PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"},
	} {
		keys, err := parseLines(test.text, noon.UTC())
		refused(t, err, test.says)
		if len(keys) > 0 {
			t.Errorf("%.60q: gives keys", test.text)
		}
	}
}

// A secret that was sent by mistake does not come back in a message.
func TestSecretsAreNotRepeated(t *testing.T) {
	t.Parallel()
	block, err := ssh.MarshalPrivateKey(rsaKey(t, 1024), "secret")
	ok(t, err)
	whole := string(pem.EncodeToMemory(block))
	body := strings.Split(whole, "\n")[1:5]
	for _, text := range []string{
		whole,
		line("a") + whole,
		strings.Join(body, "\n"),     // without its first line
		strings.Join(body, " "),      // folded
		"ssh-ed25519 " + body[1],     // as a key
		body[0] + " ssh-ed25519 AAA", // as options
	} {
		_, err := parseLines(text, noon.UTC())
		refused(t, err)
		for _, part := range body {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q repeats %q", err, part)
			}
		}
	}
}

func TestStrongRSA(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a key")
	}
	if _, err := parseLines(string(ssh.MarshalAuthorizedKey(publicRSA(t, minRSA))), noon.UTC()); err != nil {
		t.Error(err)
	}
}

func FuzzLines(f *testing.F) {
	for _, name := range []string{"a", "b"} {
		f.Add(line(name))
		f.Add(`from="10.0.0.0/8,!10.0.0.1,fe80:*",expiry-time="20300101Z" ` + line(name))
		f.Add(`command="say \"hi\" \\",expiry-time="203001010000" ` + line(name) + "# more\r\n" + line("c"))
	}
	f.Add("restrict,no-pty " + line("a"))
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseLines(text, noon.UTC())
		if err != nil {
			refused(t, err)
			return
		}
		for _, k := range keys {
			stored := strings.TrimSpace(k.Options + " " + k.Type + " " + k.Blob + " " + k.Comment)
			again, err := parseLines(stored, noon.UTC())
			if err != nil || len(again) != 1 || again[0] != k {
				t.Fatalf("%q stored as %q is %+v, %v", text, stored, again, err)
			}
			if _, bad := parseOptions(k.Options, time.UTC); bad != nil {
				t.Fatalf("stored options %q: %v", k.Options, bad)
			}
		}
	})
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	ok(t, err)
	return key
}

func publicRSA(t testing.TB, bits int) ssh.PublicKey {
	t.Helper()
	key, err := ssh.NewPublicKey(&rsaKey(t, bits).PublicKey)
	ok(t, err)
	return key
}

// dsa is the key of a DSA .pub file.
const dsa = "AAAAB3NzaC1kc3MAAACBAJ3CyRsTMeAv/KRQQh+zyvFIsr90SN9XsjEnMSnQ3X8caq5AN5heZnQFd2znhL5HhT8htKPOV3UQJUvYtIBoe0IwIzZaE2ffDKS2AGB2KZCBbnO4zfPOsWaSxpzRYN+/1N8N2jfb/Yg/FIENdD6h6FV8I8Nnfg44f+vCeqi9y5KJAAAAFQD5B2Cv1PvEzTH98l/covk3V4s4MwAAAIB0eTu5oKMM7wJcc5GzrVneU+cILDtCskKqAMWfYGGIVrGx0Ugby2PlOHxo+UapMfpBXw05SMh/VyDgPf7EbPkRYXsGQxnVZwEnejY3EK7GOaRfpKtW0fTv9Z2WGThrkb4ieEGc2csloXJ7AhHdZrZ4hTLeTvgIcxbQEHHg4InZugAAAIBa9yGNjFcXik1jC17ym3+LDM0yk4+ZIEQjqvyDrlzi3CinJwDNLmytBC6ocpzZH6IaVvqcrjMTmATF3Mwn57ZKHKyFf335bvB7H0kQEyG1eu4Ku+++XINWb5ztX2iVdpvEghUqNvy2LcghZ/rrP8j2uOnuLmD7LDkcWSaORxBNdQ=="
