package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// look returns an image of the repository, and its manifest: see finder.
func (r *repository) look(ctx context.Context, name, tag, platform string) (Image, content.Manifest, error) {
	raw, kind, err := r.rawManifest(ctx, tag)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	f := finder{r, r.platforms, "take one all the same with: image clone --platform PLATFORM LINK"}
	return f.find(ctx, Image{Repository: name, Tag: tag}, raw, kind, platform)
}

// has takes it that what a list names is there.
func (r *repository) has(string) bool { return true }

// manifest gets a manifest by its digest.
func (r *repository) manifest(ctx context.Context, digest string) ([]byte, types.MediaType, error) {
	raw, kind, err := r.rawManifest(ctx, digest)
	if err == nil && string(content.Sum(raw)) != digest {
		err = fmt.Errorf("%s: %w", digest, content.ErrMismatch)
	}
	return raw, kind, err
}

// bring downloads an image.
func (r *repository) bring(ctx context.Context, m content.Manifest, config []byte, report func(Progress)) error {
	return r.explain(ctx, r.fetch(ctx, m, config, report))
}

// config returns a config, from the store if it is there.
func (r *repository) config(ctx context.Context, b content.Blob) ([]byte, error) {
	if r.store.Has(b) {
		if raw, err := r.store.Read(b.Digest); err != nil || content.Sum(raw) == b.Digest {
			return raw, err
		}
	}
	raw, _, err := r.read("reading the config of "+r.path, r.request(ctx, http.MethodGet, r.at("blobs", string(b.Digest))), configLimit)
	if e, ok := errors.AsType[*answerError](err); ok && e.status == http.StatusNotFound {
		return nil, Unusable(r, "lacks its part %s", b.Digest)
	}
	if err != nil {
		return nil, err
	}
	if content.Sum(raw) != b.Digest {
		return nil, fmt.Errorf("%s: %w", b.Digest, content.ErrMismatch)
	}
	return raw, nil
}

func (r *repository) rawManifest(ctx context.Context, id string) ([]byte, types.MediaType, error) {
	req := r.request(ctx, http.MethodGet, r.at("manifests", id))
	req.Header.Set("Accept", strings.Join(manifestKinds, ","))
	raw, resp, err := r.read("reading the manifest of "+r.path, req, manifestLimit)
	if err != nil {
		return nil, "", err
	}
	if len(raw) > manifestLimit {
		return nil, "", Unusable(r, "has a manifest of more than %d bytes", manifestLimit)
	}
	header, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return raw, kindOf(types.MediaType(strings.TrimSpace(header)), raw), nil
}

// manifestKinds are those that this server understands.
var manifestKinds = []string{
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2), string(types.OCIImageIndex), string(types.DockerManifestList),
}

// kindOf is the kind of a manifest: what came with it, or what it says of itself
// where everything comes as JSON, or what it looks like.
func kindOf(told types.MediaType, raw []byte) types.MediaType {
	if told.IsImage() || told.IsIndex() {
		return told
	}
	var m struct {
		MediaType        types.MediaType
		Manifests        []json.RawMessage
		Config, FSLayers json.RawMessage
	}
	switch err := json.Unmarshal(raw, &m); {
	case err != nil:
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return types.OCIImageIndex
	case m.Config != nil && m.FSLayers == nil:
		return types.OCIManifestSchema1
	}
	return told
}

// check refuses a manifest that this server can make nothing of.
func check(at fmt.Stringer, m *v1.Manifest) error {
	if !m.Config.MediaType.IsConfig() && m.Config.MediaType != "" {
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
	sizes := map[v1.Hash]int64{}
	for _, d := range slices.Concat(m.Layers, []v1.Descriptor{m.Config}) {
		if size, twice := sizes[d.Digest]; twice && size != d.Size {
			return Unusable(at, "has a part %s of %d bytes, and of %d", d.Digest, size, d.Size)
		}
		sizes[d.Digest] = d.Size
	}
	for _, d := range m.Layers {
		if !d.MediaType.IsLayer() && d.MediaType != "" {
			return Unusable(at, "has a layer of the kind %q, which this server does not know", d.MediaType)
		}
	}
	return nil
}
