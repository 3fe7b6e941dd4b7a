package imagetest

import (
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Registry is an in-process registry whose downloads can go wrong.
type Registry struct {
	http.Handler
	Blobs atomic.Int64 // that were asked for

	broken atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// NewRegistry is one that works.
func NewRegistry() *Registry {
	r := &Registry{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	r.Break(nil)
	return r
}

// Break lets answer see each GET first: it may answer itself, and then returns
// true. nil repairs the registry.
func (reg *Registry) Break(answer func(w http.ResponseWriter, r *http.Request) bool) {
	reg.broken.Store(&answer)
}

func (reg *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if strings.Contains(r.URL.Path, "/blobs/") {
			reg.Blobs.Add(1)
		}
		if answer := reg.broken.Load(); *answer != nil && (*answer)(w, r) {
			return
		}
	}
	reg.Handler.ServeHTTP(w, r)
}

// Asks reports whether a request is for the blob.
func Asks(r *http.Request, h v1.Hash) bool {
	return strings.HasSuffix(r.URL.Path, "/blobs/"+h.String())
}
