package web

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"walt/power/driver"
)

//go:embed testdata/exchanges.txt
var exchanges string

// exchange is what one device is asked, and what it answers, as in the file of that name.
type exchange struct {
	profile, port string
	is            map[string]string // the lines, by what they begin with
	no            []string
}

func readExchanges(t *testing.T) []exchange {
	t.Helper()
	var all []exchange
	for line := range strings.Lines(exchanges) {
		line = strings.TrimSpace(line)
		if profile, is := strings.CutPrefix(line, "= "); is {
			name, port, _ := strings.Cut(profile, " ")
			all = append(all, exchange{name, port, map[string]string{}, nil})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		key, text, e := strings.TrimSpace(line[:8]), line[8:], &all[len(all)-1]
		if key == "no" {
			e.no = append(e.no, text)
		} else {
			e.is[key] = text
		}
	}
	return all
}

// TestProfiles has a server answer as the devices of each profile do: they are asked as they
// want to be, and their answers are understood.
func TestProfiles(t *testing.T) {
	t.Parallel()
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	left := slices.Collect(maps.Keys(all))
	for _, e := range readExchanges(t) {
		left = slices.DeleteFunc(left, func(name string) bool { return name == e.profile })
		t.Run(e.profile, func(t *testing.T) {
			t.Parallel()
			p, err := ParseProfile(e.profile)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			says := e.is["is on"]
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, h := range p.Headers {
					if name, value, _ := strings.Cut(h, ": "); r.Header.Get(name) != strings.ReplaceAll(value, "{password}", "s3cret") {
						t.Errorf("without the header %s", h)
					}
				}
				switch asked := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body)); asked {
				case e.is["on"], e.is["off"]:
					says = e.is["is off"]
					if asked == e.is["on"] {
						says = e.is["is on"]
					}
				case e.is["status"]:
					fmt.Fprint(w, says)
				default:
					t.Errorf("asked %s", asked)
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			t.Cleanup(server.Close)
			s := Settings{Name: "plugs", Host: strings.TrimPrefix(server.URL, "http://"), User: user, Password: "s3cret", Profile: p}
			for _, r := range []*string{&s.On, &s.Off, &s.Status} { // the port of the test in the place of the device's
				*r = strings.NewReplacer("{host}:8123", "{host}", "https:", "http:").Replace(*r)
			}
			if !s.have("{password}") {
				s.Auth = Basic
			}
			d, at := open(t, s), driver.Target{Port: e.port}
			if p.Status == "" {
				for _, on := range []bool{false, true} {
					if err := d.Switch(t.Context(), at, on); err != nil {
						t.Error(err)
					}
				}
				return
			}
			switches(t, d, at)
			for _, no := range append(e.no, "<html>log in</html>", "") {
				mu.Lock()
				says = no
				mu.Unlock()
				if is, err := d.Status(t.Context(), at); err == nil || is != driver.Unknown {
					t.Errorf("%q is taken for %s, %v", no, is, err)
				}
			}
		})
	}
	if len(left) > 0 {
		t.Errorf("no exchange with devices of the profiles %v", left)
	}
	_, err = ParseProfile("acme")
	wantFault(t, err, `"acme" is no profile; there are: dli, esphome, gude`)
}
