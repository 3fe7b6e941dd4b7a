package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

// bmcWord is the word "bmc".
func (s *story) bmcWord(ts *testscript.TestScript, _ bool, args []string) error {
	name := args[0]
	b := s.bmcs[name]
	if b == nil && args[1] != "new" {
		return fmt.Errorf("there is no BMC %s", name)
	}
	switch args[1] {
	case "new":
		return s.newBMC(ts, name, args[2])
	case "off":
		return eventually(func() error {
			if !b.Off() {
				return fmt.Errorf("the server of %s has power", name)
			}
			return nil
		})
	case "on":
		if b.Off() {
			return fmt.Errorf("the server of %s is off", name)
		}
		return nil
	case "stop":
		return b.Stop()
	case "start":
		return b.Start()
	}
	return fmt.Errorf("bmc: what is %q?", args[1])
}

// bmc is one of the story.
type bmc interface {
	Off() bool
	Start() error
	Stop() error
}

func (s *story) newBMC(ts *testscript.TestScript, name, kind string) error {
	var made bmc
	var address string
	switch kind {
	case "ipmi":
		dir := filepath.Join(s.lab.Dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		b, err := lab.NewBMC(dir)
		if err != nil {
			return err
		}
		made, address = b, b.Host+":"+b.Port
	case "redfish":
		r := &redfish{}
		r.server = httptest.NewTLSServer(r)
		ts.Defer(r.server.Close)
		made, address = r, strings.TrimPrefix(r.server.URL, "https://")
		ts.Setenv(name+"_fingerprint", fmt.Sprintf("%x", sha256.Sum256(r.server.Certificate().Raw)))
	default:
		return fmt.Errorf("bmc: want ipmi or redfish, not %q", kind)
	}
	if s.bmcs == nil {
		s.bmcs = map[string]bmc{}
	}
	s.bmcs[name] = made
	ts.Setenv(name, address)
	ts.Defer(func() { _ = made.Stop() })
	return made.Start()
}

// redfish is a BMC with one system, which lets in the user walt with the password secret-one.
type redfish struct {
	server *httptest.Server

	mu      sync.Mutex
	off     bool
	stopped bool
}

func (r *redfish) Off() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.off
}

func (r *redfish) Start() error { return r.stop(false) }
func (r *redfish) Stop() error  { return r.stop(true) }

func (r *redfish) stop(now bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = now
	return nil
}

func (r *redfish) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		panic(http.ErrAbortHandler)
	}
	if user, password, _ := q.BasicAuth(); user != "walt" || password != "secret-one" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	const system = "/redfish/v1/Systems/1"
	switch q.Method + " " + q.URL.Path {
	case "GET /redfish/v1/Systems":
		fmt.Fprintf(w, `{"Members":[{"@odata.id":%q}]}`, system)
	case "GET " + system:
		state := "On"
		if r.off {
			state = "Off"
		}
		fmt.Fprintf(w, `{"@odata.id":%q,"PowerState":%q,"Actions":{"#ComputerSystem.Reset":{"target":"%s/Actions/ComputerSystem.Reset"}}}`, system, state, system)
	case "POST " + system + "/Actions/ComputerSystem.Reset":
		var asked [64]byte
		n, _ := q.Body.Read(asked[:])
		r.off = strings.Contains(string(asked[:n]), "ForceOff")
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, q)
	}
}
