package source

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Sample is a small image made on the spot, for a lab that has nothing to download.
type Sample struct {
	Names   []string // repository and tag, <user>/<name>:<tag>, under which it is published
	Labels  map[string]string
	Created time.Time
	Files   map[string]string // content by path
}

// ServeSamples publishes samples in an OCI registry that is kept in memory and
// served on l until the server that it returns is closed.
func ServeSamples(l net.Listener, samples []Sample) (*http.Server, error) {
	server := &http.Server{
		Handler:           memory.New(memory.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go server.Serve(l) // ends when the server is closed
	for _, s := range samples {
		img, err := s.image()
		if err != nil {
			server.Close()
			return nil, fmt.Errorf("make a sample image: %w", err)
		}
		for _, as := range s.Names {
			ref, err := name.ParseReference(l.Addr().String()+"/"+as, name.Insecure)
			if err == nil {
				err = remote.Write(ref, img)
			}
			if err != nil {
				server.Close()
				return nil, fmt.Errorf("publish a sample image: %w", err)
			}
		}
	}
	return server, nil
}

func (s Sample) image() (v1.Image, error) {
	content, err := s.archive()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	if img, err = mutate.Config(img, v1.Config{Labels: s.Labels}); err != nil {
		return nil, err
	}
	return mutate.CreatedAt(img, v1.Time{Time: s.Created})
}

// archive is the files as a tar, in the order of their paths.
func (s Sample) archive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(s.Files)) {
		content := s.Files[path]
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(content)), ModTime: s.Created}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
