package source

import (
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
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
