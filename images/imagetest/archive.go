package imagetest

import (
	"archive/tar"
	"encoding/json"
	"io"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Blobs are the files of an image layout for the parts of images: layers, configs and
// manifests.
func Blobs(t testing.TB, all ...v1.Image) (files []*tar.Header) {
	t.Helper()
	add := func(h v1.Hash, content []byte) {
		f := Regular("blobs/sha256/"+h.Hex, string(content))
		if !slices.ContainsFunc(files, func(is *tar.Header) bool { return is.Name == f.Name }) {
			files = append(files, f)
		}
	}
	for _, img := range all {
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			h, err := l.Digest()
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			add(h, content)
		}
		config, err := img.RawConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		h, err := img.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		add(h, config)
		manifest, err := img.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		if h, err = img.Digest(); err != nil {
			t.Fatal(err)
		}
		add(h, manifest)
	}
	return files
}

// Described is the descriptor of an image, with annotations in pairs.
func Described(t testing.TB, img partial.Describable, annotations ...string) v1.Descriptor {
	t.Helper()
	d, err := partial.Descriptor(img)
	if err != nil {
		t.Fatal(err)
	}
	d.Annotations = map[string]string{}
	for i := 0; i+1 < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return *d
}

// Layout are the two files that make an image layout of blobs.
func Layout(t testing.TB, images ...v1.Descriptor) []*tar.Header {
	t.Helper()
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: images})
	if err != nil {
		t.Fatal(err)
	}
	return []*tar.Header{Regular("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), Regular("index.json", string(index))}
}

// For is an image that says that it is for another architecture.
func For(t testing.TB, img v1.Image, architecture string) v1.Image {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture = architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}
