package source

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

// entryLimit is how many files what a docker daemon packs may have.
const entryLimit = 10_000

// archive is an image as `docker save` writes it: files by any names, and a
// manifest.json, which comes last, that says which of them is what. See
// https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
type archive struct {
	dir   string
	files map[string]content.Blob // by name
	links map[string]string       // other names of them
}

// loadArchive stores the image of an archive and returns the manifest that makes it
// an image like others. Its layers are kept as they came: uncompressed, most often.
// at is for errors.
//
// The reader of go-containerregistry (pkg/v1/tarball) would do it in more code: it
// wants the whole archive in a file beside the layers, goes through that once for
// each of them, and gives them compressed or not as the first one is, unverified.
func loadArchive(ctx context.Context, at fmt.Stringer, store *content.Store, r io.Reader) (content.Manifest, error) {
	dir, err := store.TempDir()
	if err != nil {
		return content.Manifest{}, err
	}
	defer os.RemoveAll(dir)
	a := &archive{dir, map[string]content.Blob{}, map[string]string{}}
	if err := a.extract(ctx, store, r); err != nil {
		return content.Manifest{}, err
	}
	list, err := a.read("manifest.json")
	if err != nil {
		return content.Manifest{}, Unusable(at, "was packed without a manifest")
	}
	var images []struct {
		Config string
		Layers []string
	}
	if json.Unmarshal(list, &images) != nil || len(images) == 0 {
		return content.Manifest{}, Unusable(at, "was packed with a manifest that is not valid")
	}
	config, err := a.read(images[0].Config)
	if err != nil {
		return content.Manifest{}, Unusable(at, "was packed without its config")
	}
	configBlob := a.find(images[0].Config)
	configBlob.MediaType = string(types.OCIConfigJSON)
	parts := []content.Blob{configBlob}
	for _, name := range images[0].Layers {
		b := a.find(name)
		if b.Digest == "" {
			return content.Manifest{}, Unusable(at, "was packed without its layer %s", name)
		}
		if b.MediaType, err = a.layerType(b); err != nil {
			return content.Manifest{}, err
		}
		parts = append(parts, b)
	}
	if err := verify(config, parts[1:]); err != nil {
		return content.Manifest{}, err
	}
	defer store.Lease(parts)()
	for _, b := range parts {
		if err := store.Adopt(dir, b); err != nil {
			return content.Manifest{}, err
		}
	}
	raw, err := newManifest(parts[0], parts[1:])
	if err != nil {
		return content.Manifest{}, err
	}
	return parse(at, raw, types.OCIManifestSchema1)
}

// newManifest writes a manifest. Its bytes, and so its digest, follow from the parts.
func newManifest(config content.Blob, layers []content.Blob) ([]byte, error) {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	var err error
	if m.Config, err = descriptor(config); err != nil {
		return nil, err
	}
	for _, b := range layers {
		d, err := descriptor(b)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
	}
	return json.Marshal(m)
}

func descriptor(b content.Blob) (v1.Descriptor, error) {
	h, err := v1.NewHash(string(b.Digest))
	return v1.Descriptor{MediaType: types.MediaType(b.MediaType), Digest: h, Size: b.Size}, err
}

// extract writes the files of an archive into its directory, named by their digests.
func (a *archive) extract(ctx context.Context, store *content.Store, r io.Reader) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		switch {
		case err != nil:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case n == entryLimit:
			err = fmt.Errorf("more than %d files: %w", entryLimit, content.ErrMismatch)
		case content.Sparse(h):
			err = fmt.Errorf("sparse file: %w", content.ErrMismatch)
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if a.files[path.Clean(h.Name)], err = store.Spill(a.dir, tr); err != nil {
				return err
			}
		case tar.TypeSymlink:
			a.links[path.Clean(h.Name)] = path.Join(path.Dir(h.Name), h.Linkname)
		case tar.TypeLink:
			a.links[path.Clean(h.Name)] = path.Clean(h.Linkname)
		}
	}
}

func (a *archive) path(b content.Blob) string { return filepath.Join(a.dir, b.Digest.Hex()) }

// find returns the file of that name, or one without a digest.
func (a *archive) find(name string) content.Blob {
	name = path.Clean(name)
	if target, ok := a.links[name]; ok {
		name = target
	}
	return a.files[name]
}

// read returns the content of a small file.
func (a *archive) read(name string) ([]byte, error) {
	b := a.find(name)
	if b.Digest == "" || b.Size > configLimit {
		return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
	}
	return os.ReadFile(a.path(b))
}

// layerType is the media type of a layer, which says how it is compressed.
func (a *archive) layerType(b content.Blob) (string, error) {
	f, err := os.Open(a.path(b))
	if err != nil {
		return "", err
	}
	defer f.Close()
	kind, err := content.CompressionOf(f)
	switch kind {
	case content.Gzip:
		return string(types.OCILayer), err
	case content.Zstd:
		return string(types.OCILayerZStd), err
	}
	return string(types.OCIUncompressedLayer), err
}

// verify checks layers that are not compressed against the config, which has
// their digests.
func verify(rawConfig []byte, layers []content.Blob) error {
	config, err := content.ParseConfig(rawConfig)
	if err != nil || len(config.RootFS.DiffIDs) != len(layers) {
		return fmt.Errorf("config and layers do not fit: %w", content.ErrMismatch)
	}
	for i, b := range layers {
		if b.MediaType == string(types.OCIUncompressedLayer) && b.Digest != config.RootFS.DiffIDs[i] {
			return fmt.Errorf("layer %s: %w", config.RootFS.DiffIDs[i], content.ErrMismatch)
		}
	}
	return nil
}
