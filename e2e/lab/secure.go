package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/crypto/bcrypt"
)

// CA is the file of the certificate that the registry with TLS shows: it has
// signed itself.
func (r *Registry) CA() string { return filepath.Join(r.dir, "ca.pem") }

// config writes the configuration of the registry and the files that it names.
func (r *Registry) config() (path string, _ error) {
	in := func(name string) string { return filepath.Join(r.dir, name) }
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp:\n  addr: %q\n", in("registry"), r.address)
	if r.TLS {
		text += fmt.Sprintf("  tls: {certificate: %s, key: %s}\n", r.CA(), in("key.pem"))
		if _, err := os.Stat(r.CA()); err != nil {
			if err := certify(r.CA(), in("key.pem")); err != nil {
				return "", err
			}
		}
	}
	if r.User != "" {
		text += fmt.Sprintf("auth: {htpasswd: {realm: lab, path: %s}}\n", in("htpasswd"))
		hash, err := bcrypt.GenerateFromPassword([]byte(r.Password), bcrypt.MinCost)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(in("htpasswd"), fmt.Appendf(nil, "%s:%s\n", r.User, hash), 0o600); err != nil {
			return "", err
		}
	}
	return in("registry.yml"), os.WriteFile(in("registry.yml"), []byte(text), 0o644)
}

// certify writes a certificate for 127.0.0.1 that has signed itself, and its key.
func certify(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	return errors.Join(err,
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// client trusts whatever the registry shows: it is ours.
func (r *Registry) client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return &http.Client{Transport: transport, Timeout: patience}
}

// scheme is how names of its images are parsed.
func (r *Registry) scheme() []name.Option {
	if r.TLS {
		return nil
	}
	return []name.Option{name.Insecure}
}
