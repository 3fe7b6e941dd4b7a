package images

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/fault"
)

// searched are the links that a search finds, in order, and what it missed.
func searched(t testing.TB, l *testLibrary, word string) (links []string, misses map[string]error) {
	t.Helper()
	misses = map[string]error{}
	err := l.Search(t.Context(), word, func(f Match) {
		if f.Size <= 0 || len(f.Models) == 0 || !f.Created.Equal(created) || f.Digest == "" {
			t.Errorf("found %+v", f)
		}
		links = append(links, f.Link.String())
	}, func(at string, err error) {
		if misses[at] != nil {
			t.Errorf("%s was missed twice", at)
		}
		misses[at] = err
	}, untold)
	if err != nil {
		t.Error(err)
	}
	slices.Sort(links)
	return links, misses
}

// stock gives a registry images of several kinds.
func stock(t testing.TB, url, prefix string) {
	t.Helper()
	push(t, url, prefix+pcDefault, pcImage(t, "1"))
	push(t, url, prefix+pcDefault+":v1", pcImage(t, "1"))
	push(t, url, prefix+"bob/tools/my_os:1.2", pcImage(t, "2"))
	push(t, url, prefix+"bob/web", image(t, []v1.Layer{gzipLayer(t, regular("a", "1"))}))
	push(t, url, prefix+"alone", pcImage(t, "3"))
}

func TestSearch(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	stock(t, url, "")
	all := []string{"lab:bob/tools/my_os:1.2", "lab:" + pcDefault, "lab:" + pcDefault + ":v1"}
	for word, want := range map[string][]string{
		"":                 all,
		"bob":              all[:1],
		" B/T ":            all[:1],
		"-default":         all[1:],
		"-default:v":       all[2:],
		"default:latest":   all[1:2],
		"platform/pc-x86-": all[1:],
		"nothing":          nil,
		"alone":            nil,
	} {
		if got, misses := searched(t, l, word); !slices.Equal(got, want) || len(misses) > 0 {
			t.Errorf("%q found %v, want %v; %v", word, got, want, misses)
		}
	}
}

func TestSearchRealRegistries(t *testing.T) {
	t.Parallel()
	whole, below := "http://"+realRegistry(t, t.TempDir(), "", ""), "http://"+realRegistry(t, t.TempDir(), "", "")
	stock(t, whole, "")
	stock(t, below, "project/x/")
	stock(t, below, "")
	for i := range 3 {
		push(t, whole, fmt.Sprintf("many/image-%d:a", i), pcImage(t, "1"))
	}
	down := "http://" + closedPort(t)
	l := newLibrary(t)
	err := l.SetRegistries([]Registry{{Label: "whole", URL: whole}, {Label: "down", URL: down}, {Label: "below", URL: below + "/project/x"}})
	if err != nil {
		t.Fatal(err)
	}
	got, misses := searched(t, l, "")
	want := []string{
		"below:bob/tools/my_os:1.2", "below:" + pcDefault, "below:" + pcDefault + ":v1",
		"whole:bob/tools/my_os:1.2", "whole:many/image-0:a", "whole:many/image-1:a", "whole:many/image-2:a", "whole:" + pcDefault, "whole:" + pcDefault + ":v1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	wantFault(t, misses["down"], "registry down ("+down+") cannot be reached: connection refused")
	if len(misses) != 1 {
		t.Errorf("missed %v", misses)
	}
	for _, link := range got {
		if strings.Contains(link, "whole:many") {
			continue
		}
		img, err := l.FetchLink(t.Context(), mustLink(t, link), "", nil)
		if err != nil || img.Ref != mustLink(t, link).Ref {
			t.Errorf("%s: %v, %v", link, img, err)
		}
	}
	_, err = l.FetchLink(t.Context(), mustLink(t, "belo:bob/x"), "", nil)
	wantFault(t, err, "unknown image location belo")
	if !strings.Contains(fault.As(err).Hint, "below") {
		t.Errorf("no hint: %v", fault.As(err).Hint)
	}
}

// pages serves names one to a page, and lies about where the next one is.
func pages(w http.ResponseWriter, r *http.Request, key string, names []string) {
	n := 0
	fmt.Sscan(r.URL.Query().Get("last"), &n)
	if n+1 < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`<http://169.254.169.254/other?last=%d&n=1>; rel="next"`, n+1))
	}
	json.NewEncoder(w).Encode(map[string][]string{key: names[n : n+1]})
}

func TestListsHavePages(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	repos, tags := []string{"bob/a", "bob/b", "bob/c"}, []string{"1", "2"}
	for _, repo := range repos {
		for _, tag := range tags {
			push(t, url, repo+":"+tag, pcImage(t, "x"))
		}
	}
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/_catalog":
			pages(w, r, "repositories", repos)
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			pages(w, r, "tags", tags)
		default:
			return false
		}
		return true
	})
	if got, misses := searched(t, l, ""); len(got) != 6 || len(misses) > 0 {
		t.Errorf("found %v, missed %v", got, misses)
	}
}

func TestSearchThatGoesWrong(t *testing.T) {
	t.Parallel()
	const late = "did not answer all that it was asked in time"
	for want, trouble := range map[string]func(w http.ResponseWriter, r *http.Request){
		"cannot list its images":              http.NotFound,
		"answered something else than a list": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
		"needs a password":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"lists more than 10000 names": func(w http.ResponseWriter, r *http.Request) { // without end
			last, _ := strconv.Atoi(r.URL.Query().Get("last"))
			w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?last=%d>; rel="next"`, last+1))
			fmt.Fprintf(w, `{"repositories":["a%d"`, last)
			for i := range 999 {
				fmt.Fprintf(w, `,"a%d-%d"`, last, i)
			}
			io.WriteString(w, "]}")
		},
		"answers with a list that goes in circles": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `</v2/_catalog?last=x>; rel="next"`)
			io.WriteString(w, `{"repositories":["a"]}`)
		},
		"answers with a list": func(w http.ResponseWriter, r *http.Request) { // nothing without end
			w.Header().Set("Link", `</v2/_catalog?last=x>; rel="next"`)
			io.WriteString(w, `{}`)
		},
		late: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			l, f, url := inLab(t)
			l.askLimit = time.Minute
			if want == late {
				l.askLimit = time.Second
			}
			f.Break(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/_catalog" {
					return false
				}
				trouble(w, r)
				return true
			})
			links, misses := searched(t, l, "b")
			if len(links) > 0 {
				t.Errorf("found %v", links)
			}
			wantFault(t, misses["lab"], "registry lab ("+url+") "+want)
		})
	}
}

// What a registry lists several times is found once, also when its list leads back to
// itself.
func TestSearchInCircles(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, "bob/a", pcImage(t, "x"))
	asked := 0
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/_catalog" {
			return false
		}
		asked++
		w.Header().Set("Link", `</v2/_catalog?n=1000>; rel="next"`)
		io.WriteString(w, `{"repositories":["bob/a","bob/a"]}`)
		return true
	})
	links, misses := searched(t, l, "")
	if !slices.Equal(links, []string{"lab:bob/a"}) || asked != 2 {
		t.Errorf("found %v with %d requests", links, asked)
	}
	wantFault(t, misses["lab"], "goes in circles")
}

// The images of a registry that fails in the middle are found as far as it goes.
func TestSearchShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, "bob/a:1", pcImage(t, "x"))
	push(t, url, "bob/a:2", pcImage(t, "y"))
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/2") {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	links, misses := searched(t, l, "")
	if !slices.Equal(links, []string{"lab:bob/a:1"}) {
		t.Errorf("found %v", links)
	}
	wantFault(t, misses["lab"], "answered 502 Bad Gateway")
}

// Docker Hub has no catalog: its search knows the repositories of an account.
func TestSearchDockerHub(t *testing.T) {
	t.Parallel()
	f := newFaulty()
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/_catalog" {
			t.Error("the catalog was asked for")
		}
		return false
	})
	registry := serve(t, f)
	stock(t, registry.URL, "")
	push(t, registry.URL, "alice/os", pcImage(t, "1"))
	push(t, registry.URL, "carol/os", pcImage(t, "1"))
	repos := map[string][]string{"waltplatform": {"pc-x86-64-default"}, "bob": {"web", "gone", "tools/my_os"}, "alice": {"os"}, "carol": {"os"}}
	search := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/repositories/"), "/")
		page := 0
		fmt.Sscan(r.URL.Query().Get("page"), &page)
		if repos[account] == nil || page > len(repos[account]) {
			http.NotFound(w, r)
			return
		}
		next := ""
		if page < len(repos[account]) {
			next = "http://169.254.169.254/"
		}
		json.NewEncoder(w).Encode(map[string]any{"next": next, "results": []map[string]string{{"name": repos[account][page-1]}}})
	}))
	l := newLibrary(t)
	err := l.SetRegistries([]Registry{{Label: Hub, URL: registry.URL, SearchURL: search.URL, Accounts: []string{"bob", "nobody-there"}}})
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string][]string{
		"":          {"hub:bob/tools/my_os:1.2", "hub:" + pcDefault, "hub:" + pcDefault + ":v1"},
		"alice/":    {"hub:alice/os"},
		"carol/o:l": {"hub:carol/os"},
		"alice":     nil,
		"../x":      nil,
	} {
		if got, misses := searched(t, l, word); !slices.Equal(got, want) || len(misses) > 0 {
			t.Errorf("%q found %v, want %v; %v", word, got, want, misses)
		}
	}
	search.Close()
	_, misses := searched(t, l, "")
	wantFault(t, misses[Hub], "the search of Docker Hub ("+search.URL+") cannot be reached: connection refused")
	if err := l.SetRegistries([]Registry{{Label: Hub, SearchURL: "ftp://x"}}); err == nil {
		t.Error("an address of another kind was taken")
	}
}
