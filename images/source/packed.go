package source

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
	"walt/images/content"
)

const (
	// packedLimit is how many images of an archive, or variants of them, are looked at.
	packedLimit = 200
	// layersLimit is how many layers an image has that names them: the same few files
	// may be named without end. Docker makes no more than 127.
	layersLimit = 1000
)

// packed is an image in an archive.
type packed struct {
	id    string   // a digest
	names []string // <repository>:<tag> or <tag>; none when it has none
	// open returns its manifest, or list of them.
	open func(context.Context) ([]byte, types.MediaType, error)
	list []v1.Descriptor // in an image layout: it, or its variants
}

// images lists what is in the archive: of both forms that it may have, the one that
// has the manifests as they were built.
func (a *archive) images() ([]packed, error) {
	switch {
	case a.find("index.json").Digest != "" && a.find("oci-layout").Digest != "":
		return a.layout()
	case a.find("manifest.json").Digest != "":
		return a.saved()
	}
	return nil, errNoImage
}

// saved lists the images of `docker save`, whose manifest.json tells which files they
// are made of. See
// https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
func (a *archive) saved() (all []packed, err error) {
	raw, err := a.read("manifest.json")
	if err != nil {
		return nil, Unusable(a, "was packed without a manifest")
	}
	var images []struct {
		Config           string
		RepoTags, Layers []string
	}
	if json.Unmarshal(raw, &images) != nil || len(images) == 0 {
		return nil, Unusable(a, "was packed with a manifest that is not valid")
	}
	if len(images) > packedLimit {
		return nil, tooMany(a)
	}
	for _, is := range images {
		all = append(all, packed{
			id: string(a.find(is.Config).Digest), names: is.RepoTags,
			open: func(context.Context) ([]byte, types.MediaType, error) {
				raw, err := a.compose(is.Config, is.Layers)
				return raw, types.OCIManifestSchema1, err
			},
		})
	}
	return all, nil
}

// compose writes the manifest of an image by the names of its files.
func (a *archive) compose(config string, layers []string) ([]byte, error) {
	if len(layers) > layersLimit {
		return nil, Unusable(a, "has more than %d layers", layersLimit)
	}
	b := a.find(config)
	if b.Digest == "" {
		return nil, Unusable(a, "was packed without its config")
	}
	called := strings.TrimSuffix(path.Base(config), ".json")
	if d, err := content.ParseDigest("sha256:" + called); err == nil && d != b.Digest {
		return nil, Unusable(a, "was damaged: its config is not what its name %s says", called)
	}
	b.MediaType = string(types.OCIConfigJSON)
	var parts []content.Blob
	for _, name := range layers {
		layer := a.find(name)
		if layer.Digest == "" {
			return nil, Unusable(a, "was packed without its layer %s", name)
		}
		var err error
		if layer.MediaType, err = a.layerType(layer); err != nil {
			return nil, err
		}
		parts = append(parts, layer)
	}
	return newManifest(b, parts)
}

// layerType is the media type of a layer, which says how it is compressed.
func (a *archive) layerType(b content.Blob) (string, error) {
	f, err := os.Open(a.path(b.Digest))
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

// Annotations of the images of an image layout: their tag, and with some tools, or in
// the second, all of their name.
const (
	refAnnotation  = "org.opencontainers.image.ref.name"
	nameAnnotation = "io.containerd.image.name"
)

// layout lists the images of an OCI image layout, whose index.json names them, see
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md. One that is
// there under several names is listed once, and so are its variants.
func (a *archive) layout() (all []packed, err error) {
	raw, err := a.read("index.json")
	if err != nil {
		return nil, Unusable(a, "was packed without a manifest")
	}
	list, err := parseList(a, raw)
	if err != nil {
		return nil, err
	}
	if len(list.Manifests) > packedLimit {
		return nil, tooMany(a)
	}
	for _, d := range list.Manifests {
		if d.MediaType != "" && !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
			continue
		}
		p := packed{id: d.Digest.String(), list: []v1.Descriptor{d}}
		for _, key := range []string{nameAnnotation, refAnnotation} {
			if name := d.Annotations[key]; name != "" && p.names == nil {
				p.names = []string{name}
			}
		}
		if i := slices.IndexFunc(all, p.belongsTo); i >= 0 {
			all[i].add(p)
		} else {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, errNoImage
	}
	for i, p := range all {
		all[i].open = func(ctx context.Context) ([]byte, types.MediaType, error) {
			if len(p.list) == 1 {
				return a.manifest(ctx, p.id)
			}
			raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: p.list})
			return raw, types.OCIImageIndex, err
		}
	}
	return all, nil
}

// belongsTo reports whether p is another as well, or a variant of it.
func (p packed) belongsTo(other packed) bool {
	same := func(d v1.Descriptor) bool { return d.Digest == p.list[0].Digest }
	alike := func(d v1.Descriptor) bool {
		return d.Platform == nil || p.list[0].Platform == nil || d.Platform.Equals(*p.list[0].Platform)
	}
	return slices.ContainsFunc(other.list, same) || slices.Equal(p.names, other.names) && !slices.ContainsFunc(other.list, alike)
}

// add adds one that belongs to p.
func (p *packed) add(other packed) {
	for _, name := range other.names {
		if !slices.Contains(p.names, name) {
			p.names = append(p.names, name)
		}
	}
	if !slices.ContainsFunc(p.list, func(d v1.Descriptor) bool { return d.Digest == other.list[0].Digest }) {
		p.list = append(p.list, other.list[0])
	}
}

// pick returns the image of the archive that has a name, or for "" the only one.
func (a *archive) pick(name string) (packed, error) {
	all, err := a.images()
	if err != nil {
		return packed{}, err
	}
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	for _, p := range all {
		if name != "" && p.called(name) {
			return p, nil
		}
	}
	var names []string
	for _, p := range all {
		if len(p.names) == 0 {
			names = append(names, p.id)
		}
		names = append(names, p.names...)
	}
	e := &Error{Msg: fmt.Sprintf("%s has several images: %s", a, fault.Few(names)), Found: true}
	if name != "" {
		e.Msg = fmt.Sprintf("%s has no image %s, only: %s", a, name, fault.Few(names))
	}
	e.Hint = "say which of them: image load --image IMAGE NAME"
	return packed{}, e
}

// called reports whether somebody calls the image so.
func (p packed) called(name string) bool {
	return p.id == name || slices.ContainsFunc(p.names, func(is string) bool { return tagged(is) == tagged(name) })
}

// tagged is the name of an image as docker shows it, with its tag: podman's begin
// with the host that they are of, or with localhost.
func tagged(name string) string {
	for _, implied := range []string{"docker.io/", "library/", "localhost/"} {
		name = strings.TrimPrefix(name, implied)
	}
	if strings.Contains(path.Base(name), ":") {
		return name
	}
	return name + ":latest"
}

func tooMany(a *archive) error {
	return &Error{Msg: fmt.Sprintf("%s has more than %d images", a, packedLimit), Hint: "pack one of them", Found: true}
}
