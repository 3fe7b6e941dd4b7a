package images

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
)

const (
	modelsLabel    = "walt.node.models"
	preferredLabel = "walt.image.preferred-name"

	manifestLimit = 4 << 20 // bytes, as registries limit it
	configLimit   = 4 << 20
	modelsLimit   = 100
)

// manifest is the manifest of an image, as it came.
type manifest struct {
	*v1.Manifest
	self    v1.Descriptor
	raw     []byte
	variant string // that was chosen from a list, "" without one
}

// parse reads a manifest of the kind; who has it is for errors.
func parse(who fmt.Stringer, raw []byte, kind types.MediaType) (manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return manifest{}, unusable(who, "has a manifest that is not valid")
	}
	h, size, _ := v1.SHA256(bytes.NewReader(raw))
	return manifest{Manifest: m, self: v1.Descriptor{MediaType: kind, Digest: h, Size: size}, raw: raw}, check(who, m)
}

// blobs are all that an image consists of.
func (m manifest) blobs() []v1.Descriptor {
	return slices.Concat(m.Layers, []v1.Descriptor{m.Config, m.self})
}

// manifest gets the manifest that the ref names; of a list it takes the one for
// the machines that the image is for.
func (r *repository) manifest(ctx context.Context, ref Ref) (manifest, error) {
	raw, kind, err := r.rawManifest(ctx, ref.Tag)
	if err != nil {
		return manifest{}, err
	}
	if !kind.IsIndex() {
		return r.parsed(raw, kind)
	}
	list, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return manifest{}, unusable(r, "has a manifest list that is not valid")
	}
	wanted := r.platforms.Of(Model(strings.TrimSuffix(ref.Name, defaultSuffix)))
	if len(wanted) == 0 { // its label tells what it is for, and is the same in each
		any, err := r.variant(ctx, list, anywhere())
		if err != nil {
			return manifest{}, err
		}
		image, err := r.describe(ctx, ref, any)
		if err != nil {
			return manifest{}, err
		}
		for _, model := range image.Models {
			wanted = append(wanted, r.platforms.Of(model)...)
		}
	}
	if len(wanted) == 0 {
		wanted = anywhere()
	}
	return r.variant(ctx, list, wanted)
}

// variant gets the one of a list for the first of the platforms that it has.
func (r *repository) variant(ctx context.Context, list *v1.IndexManifest, platforms []string) (manifest, error) {
	d, err := r.choose(list, platforms)
	if err != nil {
		return manifest{}, err
	}
	raw, kind, err := r.rawManifest(ctx, d.Digest.String())
	if err != nil {
		return manifest{}, err
	}
	if h, _, _ := v1.SHA256(bytes.NewReader(raw)); h != d.Digest {
		return manifest{}, fmt.Errorf("%s: %w", d.Digest, errContent)
	}
	m, err := r.parsed(raw, kind)
	m.variant = d.Platform.OS + "/" + d.Platform.Architecture
	return m, err
}

func (r *repository) parsed(raw []byte, kind types.MediaType) (manifest, error) {
	if !kind.IsImage() {
		return manifest{}, unusable(r, "is of the kind %q, which this server does not know", kind)
	}
	return parse(r, raw, kind)
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
		return nil, "", unusable(r, "has a manifest of more than %d bytes", manifestLimit)
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
	return v1.Descriptor{}, unusable(r, "has no linux variant for %s, only for: %s",
		strings.Join(platforms, " or "), strings.Join(slices.Compact(has), ", "))
}

// anywhere are the architectures of nodes of which nothing is known: rather
// that of the server than another.
func anywhere() []string { return []string{runtime.GOARCH, "arm64", "arm", "amd64"} }

// check refuses a manifest that this server can make nothing of.
func check(who fmt.Stringer, m *v1.Manifest) error {
	if !m.Config.MediaType.IsConfig() {
		return unusable(who, "has a config of the kind %q, which this server does not know", m.Config.MediaType)
	}
	if m.Config.Size > configLimit {
		return unusable(who, "has a config of more than %d bytes", configLimit)
	}
	if len(m.Layers) == 0 {
		return unusable(who, "has no layers, so no files")
	}
	for _, d := range slices.Concat(m.Layers, []v1.Descriptor{m.Config}) {
		if d.Digest.Algorithm != "sha256" || d.Size < 0 {
			return unusable(who, "has a part %s of %d bytes, which this server cannot verify", d.Digest, d.Size)
		}
	}
	for _, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			return unusable(who, "has a layer of the kind %q, which this server does not know", d.MediaType)
		}
	}
	return nil
}

// describe makes the record of an image from its manifest and its config.
func describe(who fmt.Stringer, ref Ref, m manifest, rawConfig []byte) (Image, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(rawConfig))
	if err != nil {
		return Image{}, unusable(who, "has a config that is not valid")
	}
	i, err := labelled(who, ref, config.Config.Labels)
	if err != nil {
		return Image{}, err
	}
	i.Digest, i.Variant, i.Created = m.self.Digest.String(), m.variant, config.Created.UTC()
	i.Size = m.self.Size + m.Config.Size
	for _, d := range m.Layers {
		i.Size += d.Size
	}
	return i, nil
}

// labelled makes what the labels of an image say of its record.
func labelled(who fmt.Stringer, ref Ref, labels map[string]string) (Image, error) {
	models, bad := parseModels(labels[modelsLabel])
	switch {
	case bad != "":
		return Image{}, unusable(who, "has the label %s with %q in it, which is not the name of a model", modelsLabel, bad)
	case len(models) == 0:
		return Image{}, unusable(who, "has no label %s, which says what nodes it is for", modelsLabel)
	case len(models) > modelsLimit:
		return Image{}, unusable(who, "lists more than %d models in its label %s", modelsLimit, modelsLabel)
	}
	i := Image{Ref: ref, Models: models}
	if name, err := ParseName(ref.User, labels[preferredLabel]); err == nil && name.Tag == latest {
		i.Preferred = name.Name
	}
	return i, nil
}

// parseModels splits the models label, or returns an item of it that is none.
func parseModels(label string) (models []Model, bad string) {
	for model := range strings.SplitSeq(label, ",") {
		if model = strings.TrimSpace(model); model == "" {
			continue
		}
		m, err := ParseModel(model)
		if err != nil {
			return nil, model
		}
		if !slices.Contains(models, m) {
			models = append(models, m)
		}
	}
	return models, ""
}

// unusable says that the image that somebody has cannot be used.
func unusable(who fmt.Stringer, format string, args ...any) error {
	return trouble{fmt.Sprintf("the one in %s ", who) + fmt.Sprintf(format, args...), "whoever built it has to build and publish it again"}
}
