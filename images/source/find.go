package source

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

// holder is what has the parts of images: a repository, or an archive.
type holder interface {
	fmt.Stringer
	// has reports whether a manifest that a list names may be there.
	has(digest string) bool
	// manifest returns a manifest, or a list of them, which is what its digest says.
	manifest(ctx context.Context, digest string) (raw []byte, kind types.MediaType, err error)
	// config returns a config, which is what its digest says.
	config(ctx context.Context, b content.Blob) ([]byte, error)
	// bring brings all that an image consists of to the store.
	bring(ctx context.Context, m content.Manifest, config []byte, report func(Progress)) error
}

// finder finds the image that is wanted in what a holder has under one name.
type finder struct {
	holder
	platforms Platforms
	choice    string // how a user says which of several variants is wanted
}

// find returns the image of a manifest, or of a manifest list the variant for the
// platform, for "" that for the machines that the image is for.
func (f finder) find(ctx context.Context, i Image, raw []byte, kind types.MediaType, platform string) (Image, content.Manifest, error) {
	if !kind.IsIndex() {
		i, m, err := f.describe(ctx, i, raw, kind)
		if err == nil {
			err = i.only(f, platform, "take it as it is, without --platform, or look for another with: image search")
		}
		return i, m, err
	}
	list, err := parseList(f, raw)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	has, err := f.variants(ctx, list)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	if platform != "" {
		return f.take(ctx, i, has, []Machine{{Runs: []string{platform}}})
	}
	// its labels tell what it is for, and are the same in each variant
	machines, err := f.platforms(ctx, i.Repository, nil)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	first, m, err := f.take(ctx, i, has, machines)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	if machines, err = f.platforms(ctx, i.Repository, first.Labels); err != nil {
		return Image{}, content.Manifest{}, err
	}
	if v, err := f.choose(has, machines); err != nil || v.digest == first.Digest || len(machines) == 0 {
		return first, m, err
	}
	return f.take(ctx, i, has, machines)
}

// take is find for the variant for the machines.
func (f finder) take(ctx context.Context, i Image, has []variant, machines []Machine) (Image, content.Manifest, error) {
	v, err := f.choose(has, machines)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	raw, kind, err := f.manifest(ctx, v.digest)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	i.Variant = v.platform
	return f.describe(ctx, i, raw, kind)
}

// describe makes what is known of an image from its manifest, and gets its config.
func (f finder) describe(ctx context.Context, i Image, raw []byte, kind types.MediaType) (Image, content.Manifest, error) {
	m, config, rawConfig, err := f.described(ctx, raw, kind)
	if err != nil {
		return Image{}, content.Manifest{}, err
	}
	i.describe(m, config)
	i.fetch = func(ctx context.Context, report func(Progress)) (Image, error) {
		return i, f.bring(ctx, m, rawConfig, report)
	}
	return i, m, nil
}

// described parses the manifest of an image and gets its config.
func (f finder) described(ctx context.Context, raw []byte, kind types.MediaType) (m content.Manifest, c content.Config, rawConfig []byte, err error) {
	if !kind.IsImage() {
		return m, c, nil, Unusable(f, "is of the kind %q, which this server does not know", kind)
	}
	if m, err = parse(f, raw, kind); err != nil {
		return m, c, nil, err
	}
	if rawConfig, err = f.config(ctx, m.Config); err != nil {
		return m, c, nil, err
	}
	if c, err = content.ParseConfig(rawConfig); err != nil {
		return m, c, nil, Unusable(f, "has a config that is not valid")
	}
	return m, c, rawConfig, nil
}
