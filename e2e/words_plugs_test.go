package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// plugs are outlets behind a small web server, which speaks as a Shelly of the first
// generation and lets in the user walt with the password "open sesame".
type plugs struct {
	server *httptest.Server
	mu     sync.Mutex
	off    map[string]bool
	mood   string        // see the word
	over   chan struct{} // closed when the mood changes
}

// plugsWord is the word "plugs".
func (s *story) plugsWord(ts *testscript.TestScript, _ bool, args []string) error {
	name, rest := args[0], args[2:]
	p := s.plugs[name]
	if p == nil && args[1] != "new" {
		return fmt.Errorf("there are no plugs %s", name)
	}
	switch args[1] {
	case "new":
		p = &plugs{off: map[string]bool{}, over: make(chan struct{})}
		p.server = httptest.NewServer(p)
		ts.Defer(func() {
			p.be("honest")
			p.server.Close()
		})
		ts.Setenv(name, strings.TrimPrefix(p.server.URL, "http://"))
		if s.plugs == nil {
			s.plugs = map[string]*plugs{}
		}
		s.plugs[name] = p
	case "off":
		return eventually(func() error {
			if off := p.dark(); !slices.Equal(off, rest) {
				return fmt.Errorf("off are the plugs %v of %s, not %v", off, name, rest)
			}
			return nil
		})
	case "on":
		for _, outlet := range rest {
			if slices.Contains(p.dark(), outlet) {
				return fmt.Errorf("plug %s of %s is off", outlet, name)
			}
		}
	case "turn": // by hand
		p.mu.Lock()
		p.off[rest[0]] = rest[1] == "off"
		p.mu.Unlock()
	case "be":
		if !slices.Contains([]string{"honest", "lying", "silent", "garbled", "elsewhere"}, rest[0]) {
			return fmt.Errorf("plugs cannot be %q", rest[0])
		}
		p.be(rest[0])
	default:
		return fmt.Errorf("plugs: what is %q?", args[1])
	}
	return nil
}

// dark are the outlets that are off, in order.
func (p *plugs) dark() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []string{}
	for outlet, off := range p.off {
		if off {
			all = append(all, outlet)
		}
	}
	slices.Sort(all)
	return all
}

// be changes the mood: whoever waits for an answer is sent away.
func (p *plugs) be(mood string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = mood
	close(p.over)
	p.over = make(chan struct{})
}

func (p *plugs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	mood, over := p.mood, p.over
	p.mu.Unlock()
	switch mood {
	case "silent":
		select {
		case <-over:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case "garbled":
		fmt.Fprint(w, "<html>busy</html>")
		return
	case "elsewhere":
		http.Redirect(w, r, "http://192.0.2.7/relay", http.StatusFound)
		return
	}
	if user, password, _ := r.BasicAuth(); user != "walt" || password != "open sesame" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	outlet := strings.TrimPrefix(r.URL.Path, "/relay/")
	turn := r.URL.Query().Get("turn")
	p.mu.Lock()
	defer p.mu.Unlock()
	if turn != "" && mood != "lying" {
		p.off[outlet] = turn == "off"
	}
	fmt.Fprintf(w, `{"ison":%v,"has_timer":false}`, !p.off[outlet])
}
