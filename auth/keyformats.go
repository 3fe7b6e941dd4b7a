package auth

import (
	"strings"

	"walt/fault"
)

// foreign is a format of key files that is not that of authorized_keys, known by
// how a line of it begins.
type foreign struct {
	begin string
	what  string
	hint  string
}

const (
	publicOfPrivate = "send its public key, the file that ends in .pub, and keep this one to yourself\nwhen there is none, make it: ssh-keygen -y -f KEY > KEY.pub"
	notStored       = "; it was not stored"
)

// foreigners are the formats that people have; those of private keys first.
var foreigners = []foreign{
	{
		"PuTTY-User-Key-File-", "a private key of PuTTY (.ppk)" + notStored,
		"make its public key and send that: puttygen KEY.ppk -O public-openssh -o KEY.pub\n" +
			`or copy it from the window of PuTTYgen, "Public key for pasting into OpenSSH authorized_keys file"`,
	},
	{"-----BEGIN OPENSSH PRIVATE KEY", "a private key of OpenSSH" + notStored, publicOfPrivate},
	{"-----BEGIN PGP PRIVATE KEY", "a private key of PGP" + notStored, "send the public key for SSH: gpg --export-ssh-key NAME > KEY.pub"},
	{
		"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY", "a private key of SSH Tectia (ssh.com)" + notStored,
		"make its public key and send that: ssh-keygen -i -f KEY > KEY.openssh; ssh-keygen -y -f KEY.openssh > KEY.pub",
	},
	{"SSH PRIVATE KEY FILE FORMAT 1.", "a private key of SSH 1, which is too weak" + notStored, "make a better key: ssh-keygen -t ed25519"},
	{"---- BEGIN SSH2 PUBLIC KEY", "a public key in the SSH2 format (RFC 4716), as PuTTYgen saves it", "convert it: ssh-keygen -i -f KEY.pub > KEY.openssh.pub"},
	{"-----BEGIN PUBLIC KEY", "a public key in the PKCS #8 format", "convert it: ssh-keygen -i -m PKCS8 -f KEY.pub > KEY.openssh.pub"},
	{"-----BEGIN RSA PUBLIC KEY", "a public key in the PEM format", "convert it: ssh-keygen -i -m PEM -f KEY.pub > KEY.openssh.pub"},
	{"-----BEGIN CERTIFICATE", "an X.509 certificate", "convert its key: openssl x509 -pubkey -noout -in KEY.pem > KEY.pub; ssh-keygen -i -m PKCS8 -f KEY.pub > KEY.openssh.pub"},
	{"-----BEGIN PGP PUBLIC KEY", "a public key of PGP", "export it for SSH: gpg --export-ssh-key NAME > KEY.pub"},
}

// checkFormat returns a fault that names the format of a text that is not lines of
// authorized_keys, and the command that converts it.
func checkFormat(text string) *fault.Error {
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") || strings.Count(text, "\x00") > len(text)/3 {
		return fault.Usagef("this is UTF-16 text, as some editors and shells of Windows write it").
			WithHint("convert it to UTF-8: iconv -f UTF-16 -t UTF-8 KEY.pub > KEY.utf8.pub")
	}
	for _, f := range foreigners {
		if strings.Contains("\n"+strings.ReplaceAll(text, "\ufeff", ""), "\n"+f.begin) {
			return fault.Usagef("this is %s", f.what).WithHint("%s", f.hint)
		}
	}
	if strings.Contains(text, "PRIVATE KEY--") || strings.Contains(text, "PuTTY-User-Key-File") {
		return fault.Usagef("this is a private key%s", notStored).WithHint(publicOfPrivate)
	}
	return nil
}
