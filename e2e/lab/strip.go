package lab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Strip is a device of the driver http with any number of outlets, which are on. It answers
// after a while, and keeps in mind what it is asked.
type Strip struct {
	server *httptest.Server
	takes  time.Duration

	mu   sync.Mutex
	off  map[string]bool
	asks int // that it answers now
	most int
	lit  []time.Time
}

// NewStrip starts a strip whose answers take that long.
func NewStrip(takes time.Duration) *Strip {
	s := &Strip{takes: takes, off: map[string]bool{}}
	s.server = httptest.NewServer(s)
	return s
}

// Driver is what the server's file says of a driver for it, of that name.
func (s *Strip) Driver(name string) string {
	const url = `"GET http://{host}/{port}/`
	return fmt.Sprintf("[[power.driver]]\nname = %q\nkind = \"http\"\nhost = %q\n", name, s.server.Listener.Addr()) +
		"on = " + url + "on\"\noff = " + url + "off\"\nstatus = " + url + "status\"\nis_on = \"^on$\"\nis_off = \"^off$\"\n"
}

// Close ends it.
func (s *Strip) Close() { s.server.Close() }

// Dark is how many outlets are off.
func (s *Strip) Dark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.off)
}

// Busiest is how many requests it had to answer at the same time.
func (s *Strip) Busiest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Lit is when it was told to switch outlets on.
func (s *Strip) Lit() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.lit...)
}

func (s *Strip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asks++
	s.most = max(s.most, s.asks)
	s.mu.Unlock()
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks-- // before the answer is sent: who has it may send the next request
	outlet, verb, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	is := "on"
	switch verb {
	case "on":
		s.lit = append(s.lit, time.Now())
		delete(s.off, outlet)
	case "off":
		s.off[outlet] = true
	}
	if s.off[outlet] {
		is = "off"
	}
	fmt.Fprint(w, is)
}
