package source

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Debian's registry with a token server on another host of the lab.
func TestRealRegistryWithTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	selfSigned(t, dir)
	var asked atomic.Int64
	server := serveAt(t, "127.0.0.2:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if user, password, _ := r.BasicAuth(); user != "bob" || password != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"token": signed(t, dir, r.URL.Query())})
	}))
	host := realRegistry(t, dir, "", fmt.Sprintf("auth: {token: {realm: %s/token, service: lab, issuer: lab, rootcertbundle: %s/cert.pem}}\n", server.URL, dir))
	l, m := stored(t)
	if err := l.use(RegistryConfig{Label: "lab", URL: "http://" + host, Username: "bob", Password: "right"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
		t.Fatal(err)
	}
	fresh := newPlace(t)
	if err := fresh.use(RegistryConfig{Label: "lab", URL: "http://" + host, Username: "bob", Password: "right"}); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.fetch(t.Context(), "bob/os", nil); err != nil {
		t.Error(err)
	}
	found, err := search(t, fresh, Query{})
	if err != nil || !slices.Equal(found, []string{"bob/os"}) || asked.Load() == 0 {
		t.Errorf("found %v, %v, after %d tokens", found, err, asked.Load())
	}
	if err := fresh.use(RegistryConfig{Label: "lab", URL: "http://" + host}); err != nil {
		t.Fatal(err)
	}
	_, err = fresh.fetch(t.Context(), "bob/os", nil)
	wantError(t, err, "registry lab (http://"+host+") needs a password")
}

// signed is a token for all that is asked for, see
// https://distribution.github.io/distribution/spec/auth/jwt/
func signed(t *testing.T, dir string, q url.Values) string {
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			return nil
		}
		block, _ := pem.Decode(raw)
		return block.Bytes
	}
	key, err := x509.ParsePKCS8PrivateKey(read("key.pem"))
	if err != nil {
		t.Error(err)
		return ""
	}
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var all []access
	for _, scope := range q["scope"] {
		kind, rest, _ := strings.Cut(scope, ":")
		name, actions, _ := strings.Cut(rest, ":")
		all = append(all, access{kind, name, strings.Split(actions, ",")})
	}
	now := time.Now().Unix()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(read("cert.pem"))}}) + "." +
		part(map[string]any{"iss": "lab", "aud": q.Get("service"), "sub": "bob", "nbf": now - 60, "iat": now, "exp": now + 60, "jti": "1", "access": all})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Error(err)
		return ""
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}
