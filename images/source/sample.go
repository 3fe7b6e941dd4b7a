package source

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
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
		if err := s.publish("http://" + l.Addr().String()); err != nil {
			server.Close()
			return nil, fmt.Errorf("publish a sample image: %w", err)
		}
	}
	return server, nil
}

// publish sends the image to a registry that needs neither logins nor patience.
func (s Sample) publish(registry string) error {
	img, err := s.image()
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	blobs := [][]byte{config}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			return err
		}
		packed, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		blobs = append(blobs, packed)
	}
	for _, as := range s.Names {
		name, tag, _ := strings.Cut(as, ":")
		for _, b := range blobs {
			url := fmt.Sprintf("%s/v2/%s/blobs/uploads/?digest=sha256:%x", registry, name, sha256.Sum256(b))
			if err := put(http.MethodPost, url, "application/octet-stream", b); err != nil {
				return err
			}
		}
		if err := put(http.MethodPut, registry+"/v2/"+name+"/manifests/"+tag, string(types.DockerManifestSchema2), manifest); err != nil {
			return err
		}
	}
	return nil
}

func put(method, url, contentType string, body []byte) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = wanted(resp, http.StatusCreated)
	return err
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
