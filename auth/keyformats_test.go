package auth

import (
	"encoding/binary"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"
)

// utf16Text is a text as Windows writes it.
func utf16Text(text string, order binary.AppendByteOrder) string {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestOtherFormats(t *testing.T) {
	t.Parallel()
	private, err := ssh.MarshalPrivateKey(rsaKey(t, 1024), "")
	ok(t, err)
	for text, says := range map[string][]string{
		"PuTTY-User-Key-File-2: ssh-rsa\r\nEncryption: none\r\n":               {"private key of PuTTY (.ppk); it was not stored", "puttygen KEY.ppk -O public-openssh"},
		"\ufeffPuTTY-User-Key-File-3: ssh-ed25519\n":                           {"private key of PuTTY"},
		"---- BEGIN SSH2 PUBLIC KEY ----\r\nComment: \"x\"\r\nAAAA":            {"public key in the SSH2 format", "ssh-keygen -i -f KEY.pub"},
		"\n---- BEGIN SSH2 PUBLIC KEY ----\nAAAA":                              {"SSH2"},
		string(pem.EncodeToMemory(private)):                                    {"private key of OpenSSH; it was not stored", "ssh-keygen -y -f KEY"},
		line("a") + string(pem.EncodeToMemory(private)):                        {"private key"},
		"-----BEGIN RSA PRIVATE KEY-----\nMII":                                 {"this is a private key; it was not stored", "ssh-keygen -y"},
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII":                           {"this is a private key"},
		"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAAA":                      {"Tectia"},
		"SSH PRIVATE KEY FILE FORMAT 1.1\n":                                    {"SSH 1"},
		"-----BEGIN PUBLIC KEY-----\nMII":                                      {"PKCS #8", "-m PKCS8"},
		"-----BEGIN RSA PUBLIC KEY-----\nMII":                                  {"PEM", "-m PEM"},
		"-----BEGIN CERTIFICATE-----\nMII":                                     {"X.509", "openssl x509"},
		"-----BEGIN PGP PUBLIC KEY BLOCK-----\n":                               {"PGP", "gpg --export-ssh-key"},
		utf16Text(line("a"), binary.LittleEndian):                              {"UTF-16", "iconv -f UTF-16 -t UTF-8"},
		utf16Text(line("a"), binary.BigEndian):                                 {"UTF-16"},
		utf16Text(line("a"), binary.LittleEndian)[2:]:                          {"UTF-16"}, // without the mark
		utf16Text("-----BEGIN OPENSSH PRIVATE KEY-----", binary.LittleEndian):  {"UTF-16"},
		strings.Replace(line("a"), "@home", " -----BEGIN PUBLIC KEY-----x", 1): nil, // a comment
	} {
		keys, err := parseLines(text, noon.UTC())
		if says == nil {
			ok(t, err)
			continue
		}
		refused(t, err, says...)
		if len(keys) > 0 {
			t.Errorf("%.40q gives keys", text)
		}
	}
	// Several files, each of which an editor began with a mark.
	keys, err := parseLines("\ufeff"+line("a")+"\ufeff# more\n\ufeff"+line("b"), noon.UTC())
	if err != nil || len(keys) != 2 {
		t.Errorf("%+v, %v", keys, err)
	}
}

// What the hints say makes a file that is accepted, with the real programs.
func TestHintsConvert(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh := func(script string) {
		t.Helper()
		c := exec.Command("sh", "-ec", script)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	sh("ssh-keygen -q -t rsa -b 2048 -N '' -f id")
	want, err := os.ReadFile(filepath.Join(dir, "id.pub"))
	ok(t, err)
	for _, c := range []struct{ name, needs, made, file string }{
		{"SSH2", "ssh-keygen", "ssh-keygen -e -m RFC4716 -f id.pub > KEY.pub", "KEY.pub"},
		{"PKCS8", "ssh-keygen", "ssh-keygen -e -m PKCS8 -f id.pub > KEY.pub", "KEY.pub"},
		{"PEM", "ssh-keygen", "ssh-keygen -e -m PEM -f id.pub > KEY.pub", "KEY.pub"},
		{"private", "ssh-keygen", "cp id KEY", "KEY"},
		{"UTF-16", "iconv", "iconv -f UTF-8 -t UTF-16 id.pub > KEY.pub", "KEY.pub"},
		{"PuTTY", "puttygen", "puttygen id -o KEY.ppk", "KEY.ppk"},
		{"X.509", "openssl", "openssl req -x509 -new -key id -subj /CN=x -out KEY.pem 2>&1", "KEY.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.needs); err != nil {
				t.Skipf("%s is not installed", c.needs)
			}
			sh("rm -f KEY*; cp id pem; ssh-keygen -q -p -m PEM -N '' -f pem; " + strings.ReplaceAll(c.made, "-key id", "-key pem"))
			text, err := os.ReadFile(filepath.Join(dir, c.file))
			ok(t, err)
			_, bad := parseLines(string(text), noon.UTC())
			if bad == nil {
				t.Fatalf("%s is accepted", text)
			}
			hint := checkFormat(string(text)).Hint
			if c.name == "private" {
				_, hint, _ = strings.Cut(hint, "\n")
			}
			hint, _, _ = strings.Cut(hint, "\n")
			_, command, found := strings.Cut(hint, ": ")
			if !found {
				t.Fatalf("no command in %q", hint)
			}
			sh(command)
			made, err := filepath.Glob(filepath.Join(dir, "KEY*.pub"))
			ok(t, err)
			accepted := false
			for _, file := range made {
				text, err := os.ReadFile(file)
				ok(t, err)
				keys, err := parseLines(string(text), noon.UTC())
				accepted = accepted || err == nil && len(keys) == 1 && strings.Contains(string(want), keys[0].Blob)
			}
			if !accepted {
				t.Errorf("%s makes no file that is accepted, only %v", command, made)
			}
		})
	}
}
