package redfish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/fault"
	"walt/power/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device is a BMC with one system, whose answers are shaped as in a file of testdata.
type device struct {
	*httptest.Server
	system string // its path
	state  string
	resets []string
	answer func(http.ResponseWriter, *http.Request) bool // in place of the usual one; false: the usual one
}

func newDevice(t *testing.T, shape string) *device {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", shape))
	if err != nil {
		t.Fatal(err)
	}
	var system struct {
		ID      string `json:"@odata.id"`
		Actions map[string]struct{ Target string }
	}
	if err := json.Unmarshal(text, &system); err != nil {
		t.Fatal(err)
	}
	d := &device{system: system.ID, state: "On"}
	end := "" // of paths; what has a slash there refers to them
	if strings.HasSuffix(system.ID, "/") {
		end = "/{$}"
	}
	at := func(path string) string { return strings.TrimSuffix(path, "/") + end }
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+at("/redfish/v1/Systems"), func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Members":[{"@odata.id":%q}],"Members@odata.count":1}`, d.system)
	})
	mux.HandleFunc("GET "+at(d.system), func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Replace(string(text), `"STATE"`, fmt.Sprintf("%q", d.state), 1))
	})
	mux.HandleFunc("POST "+at(system.Actions["#ComputerSystem.Reset"].Target), func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ ResetType string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked for %v, %v", asked, err)
		}
		d.resets = append(d.resets, asked.ResetType)
		if d.state = "Off"; asked.ResetType == "On" {
			d.state = "On"
		}
		w.WriteHeader(http.StatusAccepted)
	})
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case d.answer != nil && d.answer(w, r):
		case user != "walt" || password != "secret-one":
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(d.Server.Close)
	return d
}

func (d *device) target() driver.Target {
	at, _ := url.Parse(d.URL)
	return driver.Target{Host: at.Hostname(), Port: at.Port()}
}

// open returns the BMCs as adjusted.
func (d *device) open(t *testing.T, adjust func(*BMCs)) *Means {
	t.Helper()
	b := BMCs{Name: "bmc", User: "walt", Password: "secret-one", TLS: d.Client().Transport.(*http.Transport).TLSClientConfig}
	if adjust != nil {
		adjust(&b)
	}
	open := New(b)
	t.Cleanup(func() { _ = open.Close() })
	return open
}

func TestSystems(t *testing.T) {
	t.Parallel()
	shapes, err := filepath.Glob("testdata/*.json")
	if err != nil || len(shapes) < 3 {
		t.Fatal(shapes, err)
	}
	for _, shape := range shapes {
		t.Run(filepath.Base(shape), func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, filepath.Base(shape))
			b := d.open(t, nil)
			for _, want := range []driver.State{driver.Off, driver.On} {
				if err := b.Switch(t.Context(), d.target(), want == driver.On); err != nil {
					t.Fatal(err)
				}
				if is, err := b.Status(t.Context(), d.target()); err != nil || is != want {
					t.Errorf("it is %v, %v; want %v", is, err, want)
				}
			}
			if !slices.Equal(d.resets, []string{"ForceOff", "On"}) {
				t.Errorf("asked for %q", d.resets)
			}
			d.state = "On"
			b.System = path.Base(d.system)
			if is, err := b.Status(t.Context(), d.target()); err != nil || is != driver.On {
				t.Errorf("by its name it is %v, %v", is, err)
			}
			d.state = "PoweringOff"
			if is, err := b.Status(t.Context(), d.target()); err != nil || is != driver.Unknown {
				t.Errorf("on its way it is %v, %v", is, err)
			}
		})
	}
}

// Some want a slash behind each path, and call themselves something else.
func TestSentToSlashes(t *testing.T) {
	t.Parallel()
	d := newDevice(t, "one.json")
	d.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if path, is := strings.CutSuffix(r.URL.Path, "/"); is {
			r.URL.Path = path
			return false
		}
		w.Header().Set("Location", "https://bmc.invalid"+r.URL.Path+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return true
	}
	b := d.open(t, nil)
	if err := b.Switch(t.Context(), d.target(), false); err != nil || !slices.Equal(d.resets, []string{"ForceOff"}) {
		t.Errorf("%v, asked for %q", err, d.resets)
	}
	if is, err := b.Status(t.Context(), d.target()); err != nil || is != driver.Off {
		t.Errorf("it is %v, %v", is, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	// says answers every request so.
	says := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	defer other.Close()
	for want, test := range map[string]struct {
		adjust  func(*BMCs)
		answer  func(http.ResponseWriter, *http.Request) bool
		refused bool
	}{
		"does not let user walt do that (401":     {adjust: func(b *BMCs) { b.Password = "wrong" }, refused: true},
		"does not let user walt do that (403":     {answer: says(403, ""), refused: true},
		"certificate that is not trusted":         {adjust: func(b *BMCs) { b.TLS = nil }, refused: true},
		"has 2 systems":                           {answer: says(200, `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"},{"@odata.id":"/redfish/v1/Systems/2"}]}`), refused: true},
		"has no system":                           {answer: says(200, `{"Members":[]}`)},
		"has more than 1 systems":                 {answer: says(200, `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}],"Members@odata.nextLink":"/redfish/v1/Systems?$skip=1"}`), refused: true},
		"refuses (404 Not Found)":                 {adjust: func(b *BMCs) { b.System = "7" }, refused: true},
		`refuses (400 Bad Request): "\x1b[31mno"`: {answer: says(400, `{"error":{"@Message.ExtendedInfo":[{"Message":"\u001b[31mno"}]}}`), refused: true},
		"cannot do it now (503":                   {answer: says(503, "")},
		"cannot do it now (409":                   {answer: says(409, "")},
		"sent an invalid answer":                  {answer: says(200, "<html>")},
		"refuses (302 Found)": {answer: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL, http.StatusFound)
			return true
		}, refused: true},
		"refuses (405 Method Not Allowed)": {answer: func(w http.ResponseWriter, r *http.Request) bool { // it refers to another host
			if r.Method == http.MethodPost {
				w.WriteHeader(405)
				return true
			}
			fmt.Fprintf(w, `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}],"Actions":{"#ComputerSystem.Reset":{"target":"%s/x"}}}`, other.URL)
			return true
		}, refused: true},
		"allows no reset ForceOff or Off": {answer: func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, `{"Members":[{"@odata.id":"/s"}],"Actions":{"#ComputerSystem.Reset":{"ResetType@Redfish.AllowableValues":["On","Nmi"]}}}`)
			return true
		}, refused: true},
	} {
		d := newDevice(t, "one.json")
		d.answer = test.answer
		err := d.open(t, test.adjust).Switch(t.Context(), d.target(), false)
		_, refused := errors.AsType[driver.Refusal](err)
		if f := fault.As(err); f == nil || !strings.Contains(f.Msg, want) || f.Hint == "" || refused != test.refused || strings.Contains(f.Msg+f.Hint, "secret-one") {
			t.Errorf("%s: %v, refused: %v", want, err, refused)
		}
		if d.state == "Off" {
			t.Errorf("%s: it is off", want)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	d := newDevice(t, "one.json")
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	d.answer = func(http.ResponseWriter, *http.Request) bool { <-held; return false }
	b := d.open(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Status(ctx, d.target()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := b.Status(gone, d.target()); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	if _, err := b.Status(t.Context(), driver.Target{Host: host, Port: port}); err == nil || !strings.Contains(err.Error(), "has nothing that answers at "+net.JoinHostPort(host, port)) {
		t.Errorf("nobody there: %v", err)
	}
}

// A BMC that goes over to another protocol, and says nothing in it, is not waited for.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	d := newDevice(t, "one.json")
	d.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
		return true
	}
	_, err := d.open(t, nil).Status(t.Context(), d.target())
	if f := fault.As(err); f == nil || !strings.Contains(f.Msg, "101 Switching Protocols") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	if err := (BMCs{}).Check(); fault.As(err) == nil {
		t.Error(err)
	}
	if err := (BMCs{User: "walt"}).Check(); err != nil {
		t.Error(err)
	}
}

// What a BMC says cannot steer the terminal of who reads it.
func TestWordsOfHostileBMC(t *testing.T) {
	t.Parallel()
	d := newDevice(t, "embedded.json")
	d.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprint(w, `{"Members":[{"@odata.id":"/a/\u001b[31mred\r\n"},{"@odata.id":"/b"}]}`)
		return true
	}
	_, err := d.open(t, nil).Status(t.Context(), d.target())
	f := fault.As(err)
	if want := "set system of the driver bmc in the server's file:  [31mred  , b"; f == nil || f.Hint != want {
		t.Errorf("%+v", f)
	}
}
