package driver

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"walt/fault"
)

// Fingerprint is the SHA-256 of a certificate; nil is none.
type Fingerprint []byte

// ParseFingerprint parses what openssl x509 -fingerprint -sha256 prints: 64 hexadecimal
// digits, with or without colons.
func ParseFingerprint(s string) (Fingerprint, error) {
	text := s[strings.LastIndex(s, "=")+1:]
	f, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(f) != sha256.Size {
		return nil, fault.Usagef("%.100q is no fingerprint; want the SHA-256 of a certificate, 64 hexadecimal digits", s).
			WithHint("for that of a device: openssl s_client -connect HOST:443 </dev/null | openssl x509 -noout -fingerprint -sha256")
	}
	return f, nil
}

func (f Fingerprint) String() string {
	return strings.ToUpper(strings.ReplaceAll(fmt.Sprintf("% x", []byte(f)), " ", ":"))
}

// Trust is how devices are known that speak TLS: by this fingerprint alone if there is
// one, else by who signed their certificates, of whom nil are those that the system trusts.
func Trust(ca *x509.CertPool, f Fingerprint) *tls.Config {
	if f == nil {
		return &tls.Config{RootCAs: ca}
	}
	return &tls.Config{
		InsecureSkipVerify: true, // what follows is stricter
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("it shows no certificate")
			}
			seen := sha256.Sum256(s.PeerCertificates[0].Raw)
			if !bytes.Equal(seen[:], f) {
				return &tls.CertificateVerificationError{
					UnverifiedCertificates: s.PeerCertificates,
					Err:                    fmt.Errorf("its fingerprint is %s, not %s", Fingerprint(seen[:]), f),
				}
			}
			return nil
		},
	}
}
