package web

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"walt/power/driver"
)

func TestSwitch(t *testing.T) {
	t.Parallel()
	device := newDevice(t, nil)
	d := open(t, device.settings())
	switches(t, d, driver.Target{Port: "0"})
	if err := d.Switch(t.Context(), driver.Target{Port: "0"}, false); err != nil || device.is("0") {
		t.Fatalf("the outlet is on: %v, %v", device.is("0"), err)
	}
	named := open(t, device.settings(), func(s *Settings) { s.Host = "" })
	switches(t, named, driver.Target{Host: strings.TrimPrefix(device.URL, "http://"), Port: "0"})
	mute := open(t, device.settings(), func(s *Settings) { s.Status, s.IsOn, s.IsOff = "", "", "" })
	if is, err := mute.Status(t.Context(), driver.Target{Port: "0"}); is != driver.Unknown || !errors.Is(err, driver.ErrNotSupported) {
		t.Errorf("a device that does not tell is %s, %v", is, err)
	}
}

// TestAuth switches devices that want a proof, and is refused with a wrong password.
func TestAuth(t *testing.T) {
	t.Parallel()
	for name, guard := range guards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			device := newDevice(t, guard)
			auth, _, _ := strings.Cut(name, ",")
			switches(t, open(t, device.settings(), as(auth)), driver.Target{Port: "0"})

			wrong := open(t, device.settings(), as(auth), func(s *Settings) { s.Password = "s3cret" })
			_, err := wrong.Status(t.Context(), driver.Target{Port: "0"})
			wantRefusal(t, err, "plugs:0 refuses who asks (40", "correct auth, user and password_file of the driver plugs")
			err = open(t, device.settings()).Switch(t.Context(), driver.Target{Port: "0"}, false)
			wantRefusal(t, err, "plugs:0 refuses who asks (40")
			if !device.is("0") {
				t.Error("who has no password switched it")
			}
		})
	}
}

// wantRefusal checks that err is a fault that is not tried again.
func wantRefusal(t *testing.T, err error, says ...string) {
	t.Helper()
	wantFault(t, err, says...)
	if _, is := errors.AsType[driver.Refusal](err); !is {
		t.Errorf("it would be tried again: %v", err)
	}
}

// TestOddDevices asks devices for their state that send anything else.
func TestOddDevices(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirection was followed: %s", r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	raw := func(text string) http.HandlerFunc { // in the place of an answer
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(c, text)
			c.Close()
		}
	}
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		refused bool
		says    []string
	}{
		"a page to log in": {says("<html><form>password</form></html>"), false, []string{"plugs:1 sends a state that is neither on nor off", "is_on and is_off of the driver plugs"}},
		"nothing":          {says(""), false, []string{"neither on nor off"}},
		"both":             {says(`{"ison":true} {"ison":false}`), true, []string{"both on and off"}},
		"no such outlet":   {http.NotFound, true, []string{"plugs:1 does not know the request status (404 Not Found)"}},
		"busy":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, false, []string{"plugs:1 cannot do it now (503 Service Unavailable)"}},
		"an odd status":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) }, false, []string{"(799)"}},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?"+r.URL.RawQuery, http.StatusFound)
		}, true, []string{"plugs:1 redirects (302 Found)", elsewhere.URL}},
		"gigabytes": {func(w http.ResponseWriter, _ *http.Request) {
			for _, err := w.Write(make([]byte, 1<<20)); err == nil; _, err = w.Write(make([]byte, 1<<20)) {
			}
		}, true, []string{"plugs:1: its answer is longer than 64 KiB"}},
		"headers without an end": {raw("HTTP/1.1 200 OK\r\nx: " + strings.Repeat("y", 1<<18)), false, []string{"does not answer as a web server does"}},
		"garbage":                {raw("\x00\x1b[2Jgarbage\r\n\r\n"), false, []string{"plugs:1 does not answer as a web server does"}},
		"half an answer":         {raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"ison\":false}"), false, []string{"plugs hung up before it had answered"}},
		"no answer":              {raw(""), false, []string{"plugs hung up before it had answered"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.answer)
			t.Cleanup(server.Close)
			d := open(t, (&device{Server: server}).settings(), as(Basic), func(s *Settings) { s.Status += "?p={password}" })
			is, err := d.Status(t.Context(), driver.Target{Port: "1"})
			wantFault(t, err, c.says...)
			if _, refused := errors.AsType[driver.Refusal](err); refused != c.refused {
				t.Errorf("it is refused for good: %v", refused)
			}
			if is != driver.Unknown {
				t.Errorf("the state is %s", is)
			}
		})
	}
}

// TestSilent ends the wait for devices that do not answer, or not to the end.
func TestSilent(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"silent": "", "slow": "{\"ison\":"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					fmt.Fprint(w, begin)
					w.(http.Flusher).Flush()
				}
				cancel()
				<-r.Context().Done()
			}))
			t.Cleanup(server.Close)
			_, err := open(t, (&device{Server: server}).settings()).Status(ctx, driver.Target{Port: "1"})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSwitchingProtocols has a device go over to another protocol, and say nothing in it.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	d := newDevice(t, func(w http.ResponseWriter, r *http.Request) bool {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return false
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
		return false
	})
	_, err := open(t, d.settings()).Status(t.Context(), driver.Target{Port: "1"})
	wantFault(t, err, "does not know the request status (101 Switching Protocols)")
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	s := newDevice(t, nil).settings()
	s.Host = address
	err = open(t, s).Switch(t.Context(), driver.Target{Port: "1"}, true)
	wantFault(t, err, "plugs has nothing that answers at 127.0.0.1:", "check its address")
	s.Host = "nowhere.invalid"
	err = open(t, s).Switch(t.Context(), driver.Target{Port: "1"}, true)
	wantFault(t, err, "plugs: its name is not known")
}

// TestTLS knows devices by who signed their certificates, or by their fingerprints.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `"ison":true`) }))
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	s := Settings{
		Name: "plugs", Host: strings.TrimPrefix(server.URL, "https://"),
		Profile: Profile{On: "GET https://{host}/on", Off: "GET https://{host}/off", Status: "GET https://{host}/", IsOn: "true", IsOff: "false"},
	}
	ca := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	right := sha256.Sum256(server.Certificate().Raw)
	printed, err := driver.ParseFingerprint("sha256 Fingerprint=" + driver.Fingerprint(right[:]).String())
	if err != nil {
		t.Fatal(err)
	}
	status := func(c *tls.Config) error {
		_, err := open(t, s, func(s *Settings) { s.TLS = c }).Status(t.Context(), driver.Target{Port: "1"})
		return err
	}
	for name, c := range map[string]*tls.Config{"its CA": driver.Trust(ca, nil), "its fingerprint": driver.Trust(nil, printed)} {
		if err := status(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantRefusal(t, status(driver.Trust(nil, nil)), "plugs shows a certificate that is not trusted", "ca_file or tls_fingerprint of the driver plugs")
	wantRefusal(t, status(driver.Trust(ca, make([]byte, 32))), "its fingerprint is "+driver.Fingerprint(right[:]).String(), "not 00:00:")

	plain := newDevice(t, nil).settings()
	plain.Status = "GET https://{host}/"
	_, err = open(t, plain).Status(t.Context(), driver.Target{Port: "1"})
	wantRefusal(t, err, "speaks HTTP where the request says https")
	if _, err := driver.ParseFingerprint("ab:cd"); err == nil {
		t.Error("half a fingerprint is taken")
	}
}

// TestPlaces has requests say what stands in their places, each as its place wants it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	v := values{host: "fd00::1", port: "lan1", user: user, password: password}
	for text, want := range map[string]request{
		`GET http://{host}/cm?user={user}&password={password}&cmnd=Power{port}%20on`: {"GET", `http://[fd00::1]/cm?user=walt&password=s3cret+%22%2F%26%2B%C3%BC&cmnd=Powerlan1%20on`, ""},
		`POST http://{host}:8080/rpc {"p":"{password}","port":"{port}"}`:             {"POST", `http://[fd00::1]:8080/rpc`, `{"p":"s3cret \"/\u0026+ü","port":"lan1"}`},
		`PUT https://{host}/o  pwd={password}&on=1`:                                  {"PUT", `https://[fd00::1]/o`, `pwd=s3cret+%22%2F%26%2B%C3%BC&on=1`},
	} {
		r, err := parseRequest("on", text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := r.fill(v); got != want {
			t.Errorf("%s is\n%+v, not\n%+v", text, got, want)
		}
	}
}

// TestHosts has nothing be a host of requests but what is known to be one: nodes are kept from
// it. A zone is written in URLs as they want it.
func TestHosts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"GET http://{host}:8{port}/on": "", "GET http://{host}/on": "",
		"GET http://10.9.0.2/{port}": "10.9.0.2", "GET HTTP://10.9.0.2:80{port}?{user}": "10.9.0.2",
		"GET https://[fd00::2]:8443/on": "fd00::2", "GET https://[fd00::2]": "fd00::2", "GET http://plug.lab?on={port}": "plug.lab",
	} {
		if got := strings.Join(Settings{Profile: Profile{On: text}}.Hosts(), " "); got != want {
			t.Errorf("%s asks %q, not %q", text, got, want)
		}
	}
	r, err := parseRequest("on", "GET http://{host}/on")
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(r.fill(values{host: "fe80::1%eth0"}).url)
	if err != nil || at.Hostname() != "fe80::1%eth0" {
		t.Errorf("%v, %v", at, err)
	}
}

// TestHeaders sends the headers of the driver, a secret among them, and the type of the body.
func TestHeaders(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	t.Cleanup(server.Close)
	s := Settings{
		Name: "unifi", Password: "s3cret", Profile: Profile{
			Headers: []string{"X-API-KEY: {password}", "Accept: application/json"},
			On:      "PUT " + server.URL + `/{port} {"on":true}`, Off: "POST " + server.URL + "/{port} value=false",
		},
	}
	d := open(t, s)
	for on, kind := range map[bool]string{true: "application/json", false: "application/x-www-form-urlencoded"} {
		if err := d.Switch(t.Context(), driver.Target{Port: "1"}, on); err != nil {
			t.Fatal(err)
		}
		h := <-got
		if h.Get("X-Api-Key") != "s3cret" || h.Get("Accept") != "application/json" || h.Get("Content-Type") != kind {
			t.Errorf("the headers are %v", h)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for says, adjust := range map[string]func(*Settings){
		`on: "" is no request`:           func(s *Settings) { s.On = "" },
		`off: "http://{host}/off" is`:    func(s *Settings) { s.Off = "http://{host}/off" },
		`off: "TRACE http`:               func(s *Settings) { s.Off = "TRACE http://{host}/off" },
		`status: "GET ftp`:               func(s *Settings) { s.Status = "GET ftp://{host}/off" },
		`status: "GET /relay"`:           func(s *Settings) { s.Status = "GET /relay" },
		`on: "GET http://a:b@host/"`:     func(s *Settings) { s.On = "GET http://a:b@host/" },
		"status: 10.9.0.{port} is no":    func(s *Settings) { s.Status = "GET http://10.9.0.{port}/" },
		"on: {host}.lab is no host":      func(s *Settings) { s.On = "GET http://{host}.lab:80/on" },
		`is_on: "(" is no regular`:       func(s *Settings) { s.IsOn = "(" },
		"is_on and is_off must both":     func(s *Settings) { s.IsOff = "" },
		"is_on and is_off are the same":  func(s *Settings) { s.IsOff = s.IsOn },
		"which is missing":               func(s *Settings) { s.Status = "" },
		"on: {prot} stands for nothing":  func(s *Settings) { s.On = `POST http://{host}/on {"id":{prot},"on":{}}` },
		"off: {PORT} stands for nothing": func(s *Settings) { s.Off = "GET http://{host}/off/{PORT}" },
		"is_on: {host} stands for":       func(s *Settings) { s.IsOn = "{host} on" },
		"headers: {pasword} stands for":  func(s *Settings) { s.Headers = []string{"X-Key: {pasword}"} },
		`auth: "ntlm" is none of`:        func(s *Settings) { s.Auth = "ntlm" },
		`auth = "bearer" needs password`: func(s *Settings) { s.Auth = Bearer },
		`auth = "digest" needs user`:     func(s *Settings) { s.Auth, s.Password = Digest, "x" },
		"the password is sent nowhere":   func(s *Settings) { s.User, s.Password = "x", "y" },
		"one line each":                  func(s *Settings) { s.Auth, s.Password = Bearer, "x\r\nHost: y" },
		"has no colon":                   func(s *Settings) { s.Auth, s.User, s.Password = Basic, "a:b", "x" },
		`headers: "no header" is no`:     func(s *Settings) { s.Headers = []string{"no header"} },
		"headers: Host is set":           func(s *Settings) { s.Headers = []string{"host: x"} },
	} {
		s := Settings{
			Name: "plugs", Profile: Profile{
				On: "GET http://{host}/on", Off: "GET http://{host}/off",
				Status: "GET http://{host}/", IsOn: "1", IsOff: "0",
			},
		}
		adjust(&s)
		_, err := New(s)
		wantFault(t, err, says)
	}
}
