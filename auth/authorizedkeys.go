package auth

import (
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"walt/fault"
)

// MaxInput is how many bytes of authorized_keys lines are accepted at once.
const MaxInput = maxKeys * maxLine

const (
	maxLine = 8 << 10 // bytes of one line, as sshd(8) has it
	minRSA  = 2048    // bits
	algoDSA = "ssh-dss"
)

const keyHint = "a line is: [OPTIONS] TYPE BASE64 [COMMENT], as in the files ~/.ssh/*.pub"

// parseLines reads lines in the format of authorized_keys, see sshd(8); expiry
// times without a zone are in that of now. Its faults name the line, and repeat of it
// at most a bad option: it may be a secret sent by mistake.
func parseLines(text string, now time.Time) ([]Key, error) {
	if len(text) > MaxInput {
		return nil, fault.Usagef("the input is larger than %d KiB", MaxInput>>10).WithHint(keyHint)
	}
	if err := checkFormat(text); err != nil {
		return nil, err
	}
	var found []Key
	seen := map[string]int{} // fingerprint to line
	n := 0
	for line := range strings.Lines(text) {
		n++
		// Several files may have been put together, each with a byte-order mark.
		line = strings.Trim(strings.TrimPrefix(line, "\ufeff"), " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseLine(line, now)
		if err == nil && seen[k.Fingerprint] > 0 {
			err = fault.Usagef("the same key as in line %d", seen[k.Fingerprint])
		}
		if err != nil {
			err.Msg = fmt.Sprintf("line %d: %s", n, err.Msg)
			return nil, err
		}
		seen[k.Fingerprint] = n
		found = append(found, k)
	}
	if len(found) == 0 {
		return nil, fault.Usagef("there is no public key in the input").WithHint(keyHint)
	}
	return found, nil
}

// CheckLines returns the fault that Add and the like have for such lines, if any.
func CheckLines(lines string) error {
	_, err := parseLines(lines, time.Now())
	return err
}

func parseLine(line string, now time.Time) (Key, *fault.Error) {
	if len(line) > maxLine {
		return Key{}, fault.Usagef("longer than %d bytes", maxLine).WithHint(keyHint)
	}
	if !utf8.ValidString(line) {
		return Key{}, fault.Usagef("not valid UTF-8").WithHint(keyHint)
	}
	for _, r := range line {
		if r != '\t' && !unicode.IsGraphic(r) {
			return Key{}, fault.Usagef("has the invisible character %U", r).WithHint("remove it from the line")
		}
	}
	var options string
	if !isKey(line) {
		var closed bool
		if options, line, closed = cutOptions(line); !closed {
			return Key{}, fault.Usagef("a quote is not closed").WithHint(allowedOptions)
		}
	}
	if !isKey(line) {
		return Key{}, fault.Usagef("not a public key").WithHint(keyHint)
	}
	if _, err := parseOptions(options, now.Location()); err != nil {
		return Key{}, err
	}
	k, err := parseKey(line, now)
	k.Options = options
	return k, err
}

// parseKey reads the type, the key and the comment of a line.
func parseKey(line string, now time.Time) (Key, *fault.Error) {
	kind, rest := cutField(line)
	blob, comment := cutField(rest)
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		return Key{}, fault.Usagef("the %.40s key is damaged: not base64", kind).WithHint("send the whole line of the .pub file")
	}
	key, err := ssh.ParsePublicKey(raw)
	if err != nil || key.Type() != kind {
		return Key{}, fault.Usagef("the %.40s key is damaged, or its type is not accepted", kind).WithHint("send the whole line of the .pub file")
	}
	if err := checkStrength(key, now); err != nil {
		return Key{}, err
	}
	return Key{
		Fingerprint: ssh.FingerprintSHA256(key),
		Type:        kind,
		Blob:        base64.StdEncoding.EncodeToString(key.Marshal()),
		Comment:     strings.Join(strings.Fields(comment), " "),
	}, nil
}

// checkStrength returns a fault for weak keys, and for a certificate in the
// place of a key.
func checkStrength(key ssh.PublicKey, now time.Time) *fault.Error {
	const hint = "make a better key: ssh-keygen -t ed25519"
	if cert, ok := key.(*ssh.Certificate); ok {
		return notAKey(cert, now)
	}
	if key.Type() == algoDSA {
		return fault.Usagef("DSA keys are too weak").WithHint(hint)
	}
	wrapped, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if k, ok := wrapped.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return fault.Usagef("an RSA key of %d bits is too weak, %d are needed", k.N.BitLen(), minRSA).WithHint(hint)
	}
	return nil
}

// isKey reports whether a line begins with the name of a key type; no option
// begins like one.
func isKey(line string) bool {
	kind, rest := cutField(line)
	return rest != "" && (strings.HasPrefix(kind, "ssh-") || strings.HasPrefix(kind, "ecdsa-") || strings.HasPrefix(kind, "sk-"))
}

// cutOptions cuts the options from a line: they end at the first blank that is
// outside of quotes, which must be closed.
func cutOptions(line string) (options, rest string, closed bool) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && strings.HasPrefix(line[i+1:], `"`):
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return line[:i], strings.TrimLeft(line[i:], " \t"), true
		}
	}
	return line, "", !quoted
}

func cutField(s string) (field, rest string) {
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimLeft(s[i:], " \t")
	}
	return s, ""
}
