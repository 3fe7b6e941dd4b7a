package source

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

// A list promises the digests of its manifests.
func TestManifestOfAListIsVerified(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := pcImage(t, "x")
	push(t, url, pcDefault, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	}))
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/"+digestOf(t, img)) {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		io.WriteString(w, `{"schemaVersion":2}`)
		return true
	})
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, digestOf(t, img), "does not match its digest")
}

// documents is a registry of manifests and configs that the test writes.
type documents struct {
	all   map[string]string // by tag or digest
	asked atomic.Int64
}

func (d *documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.asked.Add(1)
	doc, here := d.all[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	if !here {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	io.WriteString(w, doc)
}

// add adds a document, under a tag too if it has one, and returns its digest.
func (d *documents) add(tag, doc string) string {
	digest := string(content.Sum([]byte(doc)))
	if d.all == nil {
		d.all = map[string]string{}
	}
	if d.all[digest] = doc; tag != "" {
		d.all[tag] = doc
	}
	return digest
}

// list adds a list of the entries that have the digests.
func (d *documents) list(tag, kind string, digests []string) string {
	var entries []string
	for _, digest := range digests {
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, kind, digest))
	}
	return d.add(tag, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, types.OCIImageIndex, strings.Join(entries, ",")))
}

// system adds an image for an operating system, and returns its digest.
func (d *documents) system(os, author string) string {
	config := fmt.Sprintf(`{"os":%q,"architecture":"amd64","author":%q}`, os, author)
	part := func(kind types.MediaType, doc string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, kind, d.add("", doc), len(doc))
	}
	return d.add("", fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		types.OCIManifestSchema1, part(types.OCIConfigJSON, config), part(types.OCILayer, "")))
}

func same(digest string, n int) []string {
	return strings.Split(strings.TrimSuffix(strings.Repeat(digest+" ", n), " "), " ")
}

// A few bytes may stand for any number of manifests: each is asked for once, and
// not too many of them.
func TestListsWithoutEnd(t *testing.T) {
	t.Parallel()
	image, index := string(types.OCIManifestSchema1), string(types.OCIImageIndex)
	for name, c := range map[string]struct {
		build func(*documents)
		words string // of the error, "" when there is none
		asked int64
	}{
		"one entry many times": {func(d *documents) { d.list("latest", image, same(d.system("linux", ""), 10_000)) }, "", 5},
		"of another system":    {func(d *documents) { d.list("latest", image, same(d.system("plan9", ""), 10_000)) }, "a list of images, none of which is for linux", 3},
		"many entries": {func(d *documents) {
			var all []string
			for i := range 1000 {
				all = append(all, d.system("plan9", fmt.Sprint(i)))
			}
			d.list("latest", image, all)
		}, "more than 50 entries that do not tell what they are for", 101},
		"lists in lists": {func(d *documents) {
			at := d.system("plan9", "")
			for range 3 {
				at = d.list("latest", index, same(at, 1000))
			}
		}, "a list of images, none of which is for linux", 5},
		"too deep": {func(d *documents) {
			at := d.system("linux", "")
			for range 6 {
				at = d.list("latest", index, same(at, 1))
			}
		}, "more than 4 manifest lists in one another", 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &documents{}
			c.build(d)
			p := newPlace(t)
			lookIn(t, p, serve(t, d).URL)
			_, err := p.Location.Look(t.Context(), "bob/os", "latest", "", func(string) {})
			if c.words != "" {
				wantError(t, err, c.words)
			} else if err != nil {
				t.Error(err)
			}
			if n := d.asked.Load(); n > c.asked {
				t.Errorf("it was asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// One part cannot have two sizes.
func TestPartOfTwoSizes(t *testing.T) {
	t.Parallel()
	d := &documents{}
	doc := d.all[d.system("linux", "")]
	head, layer, _ := strings.Cut(strings.TrimSuffix(doc, "]}"), `"layers":[`)
	d.add("latest", head+`"layers":[`+layer+","+strings.Replace(layer, `"size":0`, `"size":7`, 1)+"]}")
	p := newPlace(t)
	lookIn(t, p, serve(t, d).URL)
	_, err := p.fetch(t.Context(), "bob/os", nil)
	wantError(t, err, "has a part sha256:", "of 0 bytes, and of 7")
}
