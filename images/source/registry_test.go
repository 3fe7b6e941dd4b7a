package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"walt/images/content"
)

func TestRealRegistry(t *testing.T) {
	t.Parallel()
	host := realRegistry(t, t.TempDir(), "", "")
	l := newPlace(t)
	lookIn(t, l, "http://"+host)
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab (http://"+host+") does not have it")

	img := pcImage(t, "of a real registry")
	push(t, "http://"+host, pcDefault, img)
	got, err := l.fetch(t.Context(), pcDefault, nil)
	if err != nil || got.Digest != digestOf(t, img) {
		t.Fatalf("got %v, %v", got, err)
	}
	tree, err := l.store.Tree(t.Context(), content.Digest(got.Digest))
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "etc/motd", "of a real registry")

	lookIn(t, l, "https://"+host)
	_, err = l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab (https://"+host+") does not speak https")
}

func TestRealRegistryWithPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("walt:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := realRegistry(t, dir, "", fmt.Sprintf("auth: {htpasswd: {realm: walt, path: %s/htpasswd}}\n", dir))
	push(t, "http://"+host, pcDefault, pcImage(t, "x"), remote.WithAuth(&authn.Basic{Username: "walt", Password: "right"}))
	l := newPlace(t)
	for _, test := range []struct{ user, password, words string }{
		{"", "", "needs a password"},
		{"walt", "wrong", "refuses the user name or the password"},
		{"bob", "right", "refuses the user name or the password"},
		{"walt", "right", ""},
	} {
		err := l.use(RegistryConfig{Label: "lab", URL: "http://" + host, Username: test.user, Password: test.password})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.fetch(t.Context(), pcDefault, nil)
		if test.words == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantError(t, err, "registry lab (http://"+host+") "+test.words)
		if strings.Contains(err.Error(), "right") || strings.Contains(err.Error(), "wrong") {
			t.Errorf("the message shows the password: %v", err)
		}
	}
}

func TestRealRegistryWithItsOwnCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := selfSigned(t, dir)
	host := realRegistry(t, dir, fmt.Sprintf("  tls: {certificate: %s/cert.pem, key: %s/key.pem}\n", dir, dir), "")
	push(t, "https://"+host, pcDefault, pcImage(t, "x"),
		remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}))

	l := newPlace(t)
	lookIn(t, l, "https://"+host)
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab (https://"+host+") has a certificate that is not trusted: an unknown authority signed it")

	_, port, _ := net.SplitHostPort(host)
	if err := l.use(RegistryConfig{Label: "lab", URL: "https://localhost:" + port, CA: ca}); err != nil {
		t.Fatal(err)
	}
	_, err = l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "certificate that is not trusted: it is for another name")

	if err := l.use(RegistryConfig{Label: "lab", URL: "https://" + host, CA: ca}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil {
		t.Error(err)
	}

	lookIn(t, l, "http://"+host)
	_, err = l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab (http://"+host+") answered 400")
}

func TestRegistryThatIsDownAndComesUp(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	addr := closedPort(t)
	lookIn(t, l, "http://"+addr)
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab (http://"+addr+") cannot be reached: connection refused")

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(listener, newFaulty()) // ends when the listener is closed
	defer listener.Close()
	push(t, "http://"+addr, pcDefault, pcImage(t, "x"))
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil {
		t.Error(err)
	}
}

// An https address on loopback is never spoken to in plain text.
func TestHTTPSNeverFallsBackToHTTP(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		begins := make(chan string, 10)
		go func() { // ends when the listener is closed
			for {
				c, err := listener.Accept()
				if err != nil {
					close(begins)
					return
				}
				b := make([]byte, 3)
				io.ReadFull(c, b)
				begins <- string(b)
				c.Close()
			}
		}()
		l := newPlace(t)
		err = l.use(RegistryConfig{Label: "lab", URL: scheme + "://" + listener.Addr().String(), Username: "u", Password: "p"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.fetch(t.Context(), pcDefault, nil)
		wantError(t, err, "registry lab ("+scheme, "broke the connection")
		listener.Close()
		for b := range begins {
			if plain := b == "GET"; plain != (scheme == "http") {
				t.Errorf("%s began with %q", scheme, b)
			}
		}
	}
}

func TestRepositoriesBelowAPath(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	push(t, url, "project/walt/"+pcDefault, pcImage(t, "x"))
	lookIn(t, l, url+"/project/walt/")
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil {
		t.Error(err)
	}
}

// selfSigned writes cert.pem and key.pem for 127.0.0.1 and returns who signed.
func selfSigned(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}
