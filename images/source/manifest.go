package source

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

const (
	manifestLimit = 4 << 20 // bytes, as registries limit it
	configLimit   = 4 << 20
)

// parse reads a manifest of the kind; at is for errors.
func parse(at fmt.Stringer, raw []byte, kind types.MediaType) (content.Manifest, error) {
	doc, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return content.Manifest{}, Unusable(at, "has a manifest that is not valid")
	}
	if err := check(at, doc); err != nil {
		return content.Manifest{}, err
	}
	m, err := content.ParseManifest(raw)
	if err != nil {
		return content.Manifest{}, Unusable(at, "has a manifest that is not valid")
	}
	m.Self.MediaType = string(kind)
	return m, nil
}

// look returns an image of the repository, and its manifest. Of a manifest list it
// takes the one for the machines that the image is for.
func (r *repository) look(ctx context.Context, name, tag string) (Image, content.Manifest, error) {
	raw, kind, err := r.rawManifest(ctx, tag)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	if !kind.IsIndex() {
		return r.describe(ctx, Image{Repository: name, Tag: tag}, raw, kind)
	}
	list, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return Image{}, content.Manifest{}, Unusable(r, "has a manifest list that is not valid")
	}
	wanted := r.platforms(name, nil)
	if len(wanted) > 0 {
		return r.variant(ctx, name, tag, list, wanted)
	}
	// its labels tell what it is for, and are the same in each variant
	i, m, err := r.variant(ctx, name, tag, list, anywhere())
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	if wanted = r.platforms(name, i.Labels); len(wanted) == 0 {
		return i, m, nil
	}
	return r.variant(ctx, name, tag, list, wanted)
}

// variant is look for the one of a list for the first of the platforms that it has.
func (r *repository) variant(ctx context.Context, name, tag string, list *v1.IndexManifest, platforms []string) (Image, content.Manifest, error) {
	d, err := r.choose(list, platforms)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	raw, kind, err := r.rawManifest(ctx, d.Digest.String())
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	if string(content.Sum(raw)) != d.Digest.String() {
		return Image{}, content.Manifest{}, fmt.Errorf("%s: %w", d.Digest, content.ErrMismatch)
	}
	return r.describe(ctx, Image{Repository: name, Tag: tag, Variant: d.Platform.OS + "/" + d.Platform.Architecture}, raw, kind)
}

// describe parses the manifest of an image and gets its config.
func (r *repository) describe(ctx context.Context, i Image, raw []byte, kind types.MediaType) (Image, content.Manifest, error) {
	if !kind.IsImage() {
		return Image{}, content.Manifest{}, Unusable(r, "is of the kind %q, which this server does not know", kind)
	}
	m, err := parse(r, raw, kind)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	rawConfig, err := r.config(ctx, m.Config)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	config, err := content.ParseConfig(rawConfig)
	if err != nil {
		return Image{}, content.Manifest{}, Unusable(r, "has a config that is not valid")
	}
	i.describe(m, config)
	i.fetch = func(ctx context.Context, report func(Progress)) (Image, error) {
		return i, r.explain(ctx, r.fetch(ctx, m, rawConfig, report))
	}
	return i, m, nil
}

// config returns a config, from the store if it is there.
func (r *repository) config(ctx context.Context, b content.Blob) ([]byte, error) {
	if r.store.Has(b) {
		if raw, err := r.store.Read(b.Digest); err != nil || content.Sum(raw) == b.Digest {
			return raw, err
		}
	}
	body, err := r.open(ctx, b)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, configLimit))
	if err != nil {
		return nil, err
	}
	if content.Sum(raw) != b.Digest {
		return nil, fmt.Errorf("%s: %w", b.Digest, content.ErrMismatch)
	}
	return raw, nil
}

func (r *repository) rawManifest(ctx context.Context, id string) ([]byte, types.MediaType, error) {
	resp, err := r.get(ctx, "manifests", id, string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
		string(types.OCIImageIndex), string(types.DockerManifestList))
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, manifestLimit+1))
	if err != nil {
		return nil, "", err
	}
	if len(raw) > manifestLimit {
		return nil, "", Unusable(r, "has a manifest of more than %d bytes", manifestLimit)
	}
	header, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	kind := types.MediaType(strings.TrimSpace(header))
	if !kind.IsImage() && !kind.IsIndex() { // some serve everything as JSON; most manifests say what they are
		var m struct{ MediaType types.MediaType }
		if json.Unmarshal(raw, &m) == nil && m.MediaType != "" {
			kind = m.MediaType
		}
	}
	return raw, kind, nil
}

// choose picks the manifest for the first of the platforms that a list has.
func (r *repository) choose(list *v1.IndexManifest, platforms []string) (v1.Descriptor, error) {
	var has []string
	for _, want := range platforms {
		for _, d := range list.Manifests {
			if d.Platform == nil || d.Platform.OS != "linux" {
				continue
			}
			if d.Platform.Architecture == want && d.Digest.Algorithm == "sha256" {
				return d, nil
			}
			has = append(has, d.Platform.Architecture)
		}
	}
	slices.Sort(has)
	return v1.Descriptor{}, Unusable(r, "has no linux variant for %s, only for: %s",
		strings.Join(platforms, " or "), strings.Join(slices.Compact(has), ", "))
}

// anywhere are the architectures of nodes of which nothing is known: rather
// that of the server than another.
func anywhere() []string { return []string{runtime.GOARCH, "arm64", "arm", "amd64"} }

// check refuses a manifest that this server can make nothing of.
func check(at fmt.Stringer, m *v1.Manifest) error {
	if !m.Config.MediaType.IsConfig() {
		return Unusable(at, "has a config of the kind %q, which this server does not know", m.Config.MediaType)
	}
	if m.Config.Size > configLimit {
		return Unusable(at, "has a config of more than %d bytes", configLimit)
	}
	if len(m.Layers) == 0 {
		return Unusable(at, "has no layers, so no files")
	}
	for _, d := range slices.Concat(m.Layers, []v1.Descriptor{m.Config}) {
		if d.Digest.Algorithm != "sha256" || d.Size < 0 {
			return Unusable(at, "has a part %s of %d bytes, which this server cannot verify", d.Digest, d.Size)
		}
	}
	for _, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			return Unusable(at, "has a layer of the kind %q, which this server does not know", d.MediaType)
		}
	}
	return nil
}
