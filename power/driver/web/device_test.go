package web

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"walt/fault"
	"walt/power/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets of the tests, which no fault may tell.
const user, password = "walt", `s3cret "/&+ü`

// device is a small web server with outlets: GET /relay/PORT, with ?turn=on|off. A guard
// answers requests that do not pass.
type device struct {
	*httptest.Server
	mu sync.Mutex
	on map[string]bool
}

// newDevice returns one; guard may be nil.
func newDevice(t *testing.T, guard func(http.ResponseWriter, *http.Request) bool) *device {
	t.Helper()
	d := &device{on: map[string]bool{"0": true}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /relay/{port}", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if guard != nil && !guard(w, r) {
			return
		}
		port := r.PathValue("port")
		if turn := r.URL.Query().Get("turn"); turn != "" {
			d.on[port] = turn == "on"
		}
		on, there := d.on[port]
		if !there {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"ison":%v,"has_timer":false}`, on)
	})
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

// settings are those for such devices.
func (d *device) settings() Settings {
	return Settings{
		Name: "plugs", Host: strings.TrimPrefix(d.URL, "http://"),
		Profile: Profile{
			On: "GET http://{host}/relay/{port}?turn=on", Off: "GET http://{host}/relay/{port}?turn=off",
			Status: "GET http://{host}/relay/{port}", IsOn: `"ison":true`, IsOff: `"ison":false`,
		},
	}
}

func (d *device) is(port string) (on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.on[port]
}

// open makes devices as adjusted.
func open(t *testing.T, s Settings, adjust ...func(*Settings)) *Devices {
	t.Helper()
	for _, f := range adjust {
		f(&s)
	}
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func as(auth string) func(*Settings) {
	return func(s *Settings) { s.Auth, s.User, s.Password = auth, user, password }
}

// switches turns an outlet off and on, and looks each time whether it says so.
func switches(t *testing.T, d *Devices, at driver.Target) {
	t.Helper()
	for _, on := range []bool{false, true} {
		want := driver.Off
		if on {
			want = driver.On
		}
		if err := d.Switch(t.Context(), at, on); err != nil {
			t.Fatalf("switch it %s: %v", want, err)
		}
		if is, err := d.Status(t.Context(), at); err != nil || is != want {
			t.Fatalf("switched %s, it is %s, %v", want, is, err)
		}
	}
}

// digestGuard lets those in who prove by an algorithm that they know the password.
func digestGuard(algorithm func() hash.Hash, challenges ...string) func(http.ResponseWriter, *http.Request) bool {
	sum := func(parts ...string) string {
		h := algorithm()
		h.Write([]byte(strings.Join(parts, ":")))
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	return func(w http.ResponseWriter, r *http.Request) bool {
		if all := parseChallenges(r.Header.Values("Authorization")); len(all) == 1 && all[0].scheme == "digest" {
			p := maps.Clone(all[0].params)
			wanted := sum(sum(p["username"], "lab, shelf 2", password), "nonce", p["nc"], p["cnonce"], "auth", sum(r.Method, r.URL.RequestURI()))
			if p["response"] == wanted && p["uri"] == r.URL.RequestURI() && p["opaque"] == `a "b"` {
				return true
			}
		}
		for _, c := range challenges {
			w.Header().Add("WWW-Authenticate", c)
		}
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return false
	}
}

// The challenges of one device, in the forms that devices write.
const (
	sha256Challenge = `Digest realm="lab, shelf 2", qop="auth", nonce="nonce", algorithm=SHA-256, opaque="a \"b\""`
	md5Challenge    = `Digest realm="lab, shelf 2", domain="/", qop="auth-int,auth", nonce="nonce", opaque="a \"b\"", stale=false`
)

var guards = map[string]func(http.ResponseWriter, *http.Request) bool{
	"basic": func(w http.ResponseWriter, r *http.Request) bool {
		name, secret, _ := r.BasicAuth()
		if name == user && secret == password {
			return true
		}
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return false
	},
	"bearer": func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+password {
			return true
		}
		http.Error(w, "who are you?", http.StatusForbidden)
		return false
	},
	"digest, MD5":                        digestGuard(md5.New, md5Challenge),
	"digest, SHA-256":                    digestGuard(sha256.New, sha256Challenge),
	"digest, either":                     digestGuard(sha256.New, md5Challenge, sha256Challenge),
	"digest, either, in one line":        digestGuard(sha256.New, `Basic realm="lab", `+sha256Challenge+", "+md5Challenge),
	"digest, and one that nobody knows":  digestGuard(md5.New, `Digest realm="x", nonce="y", algorithm=SHA-512-256, qop="auth"`, md5Challenge),
	"digest, and one that wants a whole": digestGuard(md5.New, `Digest realm="x", nonce="y", algorithm=SHA-256, qop="auth-int"`, md5Challenge),
}

// wantFault checks that err is a fault that says all this, in its message or hint, and
// tells no secret.
func wantFault(t *testing.T, err error, says ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want a fault that says %q", err, says)
	}
	text := f.Msg + "\n" + f.Hint
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("the fault %q does not say %q", text, s)
		}
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("the fault %q tells a secret", text)
	}
}
