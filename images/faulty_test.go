package images

import (
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// faulty is an in-process registry whose downloads go wrong as trouble says.
type faulty struct {
	http.Handler
	// trouble may answer a GET itself, and then returns true.
	trouble atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	blobs   atomic.Int64 // that were asked for
}

func newFaulty() *faulty {
	return &faulty{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
}

func (f *faulty) make(trouble func(w http.ResponseWriter, r *http.Request) bool) {
	f.trouble.Store(&trouble)
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if strings.Contains(r.URL.Path, "/blobs/") {
			f.blobs.Add(1)
		}
		if trouble := f.trouble.Load(); trouble != nil && (*trouble)(w, r) {
			return
		}
	}
	f.Handler.ServeHTTP(w, r)
}

// asks reports whether a request is for the blob.
func asks(r *http.Request, h v1.Hash) bool {
	return strings.HasSuffix(r.URL.Path, "/blobs/"+h.String())
}
