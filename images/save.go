package images

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// entryLimit is how many files what a docker daemon packs may have.
const entryLimit = 10_000

// pack is an image as `docker save` packs it: files by any names, and a
// manifest.json, which comes last, that says which of them is what. See
// https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
type pack struct {
	dir   string
	files map[string]v1.Descriptor // by name
	links map[string]string        // other names of them
}

// keepPack stores the image that who packed and returns the manifest that makes it
// an image like others. Its layers are kept as they came: uncompressed, most often.
func (l *Library) keepPack(ctx context.Context, who fmt.Stringer, r io.Reader) (manifest, error) {
	c := l.content
	dir, err := os.MkdirTemp(c.tmp(), "")
	if err != nil {
		return manifest{}, err
	}
	defer os.RemoveAll(dir)
	p := &pack{dir, map[string]v1.Descriptor{}, map[string]string{}}
	if err := c.extract(ctx, p, r); err != nil {
		return manifest{}, err
	}
	list, err := p.read("manifest.json")
	if err != nil {
		return manifest{}, unusable(who, "was packed without a manifest")
	}
	var images []struct {
		Config string
		Layers []string
	}
	if json.Unmarshal(list, &images) != nil || len(images) == 0 {
		return manifest{}, unusable(who, "was packed with a manifest that is not valid")
	}
	config, err := p.read(images[0].Config)
	if err != nil {
		return manifest{}, unusable(who, "was packed without its config")
	}
	m := &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: p.find(images[0].Config)}
	m.Config.MediaType = types.OCIConfigJSON
	for _, name := range images[0].Layers {
		d := p.find(name)
		if d.Digest.Hex == "" {
			return manifest{}, unusable(who, "was packed without its layer %s", name)
		}
		if d.MediaType, err = p.layerType(d); err != nil {
			return manifest{}, err
		}
		m.Layers = append(m.Layers, d)
	}
	if err := p.verify(config, m.Layers); err != nil {
		return manifest{}, err
	}
	parts := append(m.Layers, m.Config)
	defer l.hold(parts)()
	for _, d := range parts {
		if err := c.adopt(p.path(d), d); err != nil {
			return manifest{}, err
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return manifest{}, err
	}
	return parse(who, raw, m.MediaType)
}

// extract writes the files of a pack into its directory, named by their digests.
func (c content) extract(ctx context.Context, p *pack, r io.Reader) error {
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
			err = fmt.Errorf("more than %d files: %w", entryLimit, errContent)
		case sparse(h): // a few bytes that stand for any number of zeros
			err = fmt.Errorf("sparse file: %w", errContent)
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if p.files[path.Clean(h.Name)], err = c.spill(filepath.Join(p.dir, strconv.Itoa(n)), tr); err != nil {
				return err
			}
		case tar.TypeSymlink:
			p.links[path.Clean(h.Name)] = path.Join(path.Dir(h.Name), h.Linkname)
		case tar.TypeLink:
			p.links[path.Clean(h.Name)] = path.Clean(h.Linkname)
		}
	}
}

// spill writes what r holds to a file in the directory of file, which gets its
// digest for a name.
func (c content) spill(file string, r io.Reader) (v1.Descriptor, error) {
	f, err := os.Create(file)
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(&careful{f: f, content: c}, hash), r, make([]byte, 128<<10))
	err = cmp.Or(err, f.Close())
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}, Size: n}
	return d, os.Rename(file, filepath.Join(filepath.Dir(file), d.Digest.Hex))
}

func (p *pack) path(d v1.Descriptor) string { return filepath.Join(p.dir, d.Digest.Hex) }

// find returns the file of that name, or one without a digest.
func (p *pack) find(name string) v1.Descriptor {
	name = path.Clean(name)
	if target, ok := p.links[name]; ok {
		name = target
	}
	return p.files[name]
}

// read returns the content of a small file.
func (p *pack) read(name string) ([]byte, error) {
	d := p.find(name)
	if d.Digest.Hex == "" || d.Size > configLimit {
		return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
	}
	return os.ReadFile(p.path(d))
}

func (p *pack) layerType(d v1.Descriptor) (types.MediaType, error) {
	f, err := os.Open(p.path(d))
	if err != nil {
		return "", err
	}
	defer f.Close()
	return layerType(f)
}

// verify checks layers that are not compressed against the config, which has
// their digests.
func (p *pack) verify(rawConfig []byte, layers []v1.Descriptor) error {
	var config v1.ConfigFile
	if err := json.Unmarshal(rawConfig, &config); err != nil || len(config.RootFS.DiffIDs) != len(layers) {
		return fmt.Errorf("config and layers do not fit: %w", errContent)
	}
	for i, d := range layers {
		if d.MediaType == types.OCIUncompressedLayer && d.Digest != config.RootFS.DiffIDs[i] {
			return fmt.Errorf("layer %s: %w", config.RootFS.DiffIDs[i], errContent)
		}
	}
	return nil
}
