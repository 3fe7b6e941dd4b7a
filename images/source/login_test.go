package source

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// guard is a registry that wants a token from elsewhere.
type guard struct {
	http.Handler        // the registry
	realm        string // where tokens are given
	open         bool   // its /v2/ is for everybody
	leaks        atomic.Int64
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scope := "registry:catalog:*"
	if path, ok := strings.CutPrefix(r.URL.Path, "/v2/bob/os/"); ok {
		scope = "repository:bob/os:pull"
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			scope += ",push"
		}
		_ = path
	}
	if r.URL.Path == "/v2/" && g.open {
		g.Handler.ServeHTTP(w, r)
		return
	}
	if _, _, basic := r.BasicAuth(); basic {
		g.leaks.Add(1) // the password is for the token server
	}
	var granted string
	fmt.Sscanf(r.Header.Get("Authorization"), "Bearer %s", &granted)
	allowed := granted == scope || strings.HasPrefix(scope, "repository:") && granted == "repository:bob/os:push,pull"
	if !allowed {
		w.Header().Add("WWW-Authenticate", "Negotiate")
		w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="the \"lab\", of course",scope="%s"`, g.realm, scope))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	g.Handler.ServeHTTP(w, r)
}

// tokens gives a token for what is asked for first, to bob alone.
func tokens(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "bob" || password != "right" || r.URL.Query().Get("service") != `the "lab", of course` {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := "token"
	if r.URL.Query().Has("modern") {
		name = "access_token"
	}
	json.NewEncoder(w).Encode(map[string]string{name: r.URL.Query()["scope"][0]})
}

// serveAt is serve at an address of its own.
func serveAt(t testing.TB, addr string, h http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("no such address here: ", err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// A token server may be at any port and host of the lab, and the registry itself
// may be open while its repositories are not.
func TestTokenServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		addr, query string
		open        bool
	}{
		"another port":                 {"127.0.0.1:0", "", false},
		"another host":                 {"127.0.0.2:0", "", false},
		"another host, another answer": {"127.0.0.2:0", "?modern", false},
		"open but for repositories":    {"127.0.0.2:0", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serveAt(t, test.addr, http.HandlerFunc(tokens))
			f := newFaulty()
			g := &guard{Handler: f, realm: server.URL + "/token" + test.query, open: test.open}
			s := serve(t, g)
			l, m := stored(t)
			as := func(user, password string) *Registry {
				if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: user, Password: password}); err != nil {
					t.Fatal(err)
				}
				return l.Location.(*Registry)
			}
			if err := as("bob", "right").Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := l.fetch(t.Context(), "bob/os", nil); err != nil {
				t.Error(err)
			}
			found, err := search(t, l, Query{})
			if err != nil || !slices.Equal(found, []string{"bob/os"}) {
				t.Errorf("found %v, %v", found, err)
			}
			if n := g.leaks.Load(); n > 0 {
				t.Errorf("the registry was given the password %d times", n)
			}
			as("bob", "wrong")
			_, err = l.fetch(t.Context(), "bob/os", nil)
			wantError(t, err, "registry lab ("+s.URL+") refuses the user name or the password")
			as("", "")
			_, err = l.fetch(t.Context(), "bob/os", nil)
			wantError(t, err, "registry lab ("+s.URL+") needs a password")
		})
	}
}

func TestTokenServersThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	down, broken := closedPort(t), serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	silly := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }))
	for realm, words := range map[string]string{
		"http://" + down: "wants a token from http://" + down + ", which cannot be reached: connection refused",
		broken.URL:       "wants a token from " + broken.URL + ", which answered 500 Internal Server Error",
		silly.URL:        "wants a token from " + silly.URL + ", which gives none",
		"ftp://x/":       "wants a token from an address that is not valid",
	} {
		s := serve(t, &guard{Handler: newFaulty(), realm: realm})
		l := newPlace(t)
		lookIn(t, l, s.URL)
		_, err := l.fetch(t.Context(), "bob/os", nil)
		wantError(t, err, "registry lab ("+s.URL+") "+words)
	}
	// a password goes nowhere in plain text when the registry is not spoken to so
	s := httptest.NewTLSServer(&guard{Handler: newFaulty(), realm: silly.URL})
	t.Cleanup(s.Close)
	l := newPlace(t)
	pool := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: "bob", Password: "right", CA: pool}); err != nil {
		t.Fatal(err)
	}
	_, err := l.fetch(t.Context(), "bob/os", nil)
	wantError(t, err, "wants a token from "+silly.URL+", on the way to which everybody could read the password")
}

// What a registry keeps elsewhere comes from there, without what is secret: a
// store of objects refuses a request that has an Authorization beside its own.
func TestBlobsElsewhere(t *testing.T) {
	t.Parallel()
	f := newFaulty()
	var there, secrets atomic.Int64
	elsewhere := serveAt(t, "127.0.0.2:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there.Add(1)
		if r.Header.Get("Authorization") != "" {
			secrets.Add(1)
		}
		f.ServeHTTP(w, r)
	}))
	samePort := serve(t, elsewhere.Config.Handler)
	for _, to := range []*httptest.Server{elsewhere, samePort} {
		there.Store(0)
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch user, password, _ := r.BasicAuth(); {
			case user != "bob" || password != "right":
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
				http.Redirect(w, r, to.URL+r.URL.Path, http.StatusTemporaryRedirect)
			case r.Method == http.MethodPost:
				rec := httptest.NewRecorder()
				f.ServeHTTP(rec, r)
				w.Header().Set("Location", to.URL+rec.Header().Get("Location"))
				w.WriteHeader(rec.Code)
			default:
				f.ServeHTTP(w, r)
			}
		}))
		l, m := stored(t)
		if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: "bob", Password: "right"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
			t.Fatal(err)
		}
		fresh := newPlace(t)
		fresh.Location = l.Location.(*Registry).withStore(fresh)
		if _, err := fresh.fetch(t.Context(), "bob/os", nil); err != nil {
			t.Error(err)
		}
		if there.Load() < 2 || secrets.Load() > 0 {
			t.Errorf("%d requests, %d with a secret", there.Load(), secrets.Load())
		}
	}
}

// withStore is the registry with another store.
func (r *Registry) withStore(p *place) *Registry {
	fresh := &Registry{label: r.label, base: r.base, prefix: r.prefix, username: r.username, password: r.password, server: r.server, platforms: r.platforms}
	fresh.store = p.store
	return fresh
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]challenge{
		"":                          nil,
		"Basic":                     {{"basic", map[string]string{}}},
		`Basic realm=x`:             {{"basic", map[string]string{"realm": "x"}}},
		`bearer REALM = "a,b\"c" ,`: {{"bearer", map[string]string{"realm": `a,b"c`}}},
		`Negotiate, Basic realm="x", Bearer realm="https://t/?a=b",scope="repository:a/b:pull,push"`: {
			{"negotiate", map[string]string{}},
			{"basic", map[string]string{"realm": "x"}},
			{"bearer", map[string]string{"realm": "https://t/?a=b", "scope": "repository:a/b:pull,push"}},
		},
		`realm="x"`: nil,
	} {
		got := challenges(http.Header{"Www-Authenticate": {line}})
		if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

// Whatever a server asks for, it is read.
func FuzzChallenges(f *testing.F) {
	f.Add(`Negotiate, Basic realm="x", Bearer realm="https://t/?a=b",scope="repository:a/b:pull,push"`)
	f.Add(`Bearer realm="x\`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, c := range challenges(http.Header{"Www-Authenticate": {line}}) {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) || c.params == nil {
				t.Errorf("%q: %v", line, c)
			}
		}
	})
}
