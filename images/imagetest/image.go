package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// GzipLayer is a layer of the entries.
func GzipLayer(t testing.TB, entries ...*tar.Header) v1.Layer {
	t.Helper()
	return static.NewLayer(Gzip(t, Archive(t, entries...)), types.OCILayer)
}

// Image makes an image of the layers, with labels in pairs.
func Image(t testing.TB, layers []v1.Layer, labels ...string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	config := &v1.ConfigFile{Architecture: "amd64", OS: "linux", Created: v1.Time{Time: Created}}
	config.Config.Labels = map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		config.Config.Labels[labels[i]] = labels[i+1]
	}
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, id)
	}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// PCImage is a good image of one layer with the file etc/motd.
func PCImage(t testing.TB, motd string) v1.Image {
	t.Helper()
	return Image(t, []v1.Layer{GzipLayer(t, Regular("etc/motd", motd))}, "walt.node.models", "pc-x86-64")
}

// DigestOf is the digest of an image or an index.
func DigestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// Push writes an image or an index to the registry at an http address.
func Push(t testing.TB, url, ref string, what remote.Taggable, options ...remote.Option) {
	t.Helper()
	_, host, _ := strings.Cut(url, "://")
	r, err := name.ParseReference(host+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(r, what, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(r, what, options...)
	default:
		err = remote.Put(r, what, options...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// LayerDigest is the digest of one layer of an image, the lowest is 0.
func LayerDigest(t testing.TB, img v1.Image, n int) v1.Hash {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	h, err := layers[n].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// BigImage is an image with a layer of more than a MiB.
func BigImage(t testing.TB) v1.Image {
	t.Helper()
	big, err := random.Layer(1<<20, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	return Image(t, []v1.Layer{big}, "walt.node.models", "pc-x86-64")
}

// TarLayer is a layer that knows the digest of its uncompressed form, which
// daemons look at.
func TarLayer(t testing.TB, entries ...*tar.Header) v1.Layer {
	t.Helper()
	content := Archive(t, entries...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}
