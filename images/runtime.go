package images

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"walt/images/content"
)

// Runtime is what an image is configured to run where something runs it as a
// container, see https://github.com/opencontainers/image-spec/blob/main/config.md
type Runtime struct {
	Args    []string // the entry point and its arguments, which may be none
	Env     []string // NAME=VALUE
	Dir     string   // working directory, "" for the root
	User    string   // USER or USER:GROUP, names or numbers; "" for root
	Volumes []string // directories whose content is not the image's to keep, by name
	Kernel  string   // the label KernelLabel, "" when there is none
	Boot    string   // the label BootArgsLabel, as it is
}

// Hold returns the files of an image that is here, and what it is configured to
// run. Until release is called they stay, whatever becomes of the image's record.
func (l *Library) Hold(ctx context.Context, digest string) (t *content.Tree, run Runtime, release func(), err error) {
	m, err := l.manifest(Image{Digest: digest})
	if err != nil {
		return nil, run, nil, err
	}
	release = l.content.Lease(m.Blobs())
	if run, err = l.runtime(m); err == nil {
		t, err = l.content.Tree(ctx, m.Self.Digest)
	}
	if err != nil {
		release()
		return nil, run, nil, err
	}
	return t, run, release, nil
}

func (l *Library) runtime(m content.Manifest) (r Runtime, err error) {
	raw, err := l.content.Read(m.Config.Digest)
	if err != nil {
		return r, err
	}
	var is struct {
		Config struct {
			Entrypoint, Cmd, Env []string
			WorkingDir, User     string
			Volumes              map[string]struct{}
			Labels               map[string]string
		}
	}
	if err := json.Unmarshal(raw, &is); err != nil {
		return r, fmt.Errorf("what the image is configured to run: %w", err)
	}
	c := is.Config
	return Runtime{
		Args: slices.Concat(c.Entrypoint, c.Cmd), Env: c.Env, Dir: c.WorkingDir, User: c.User,
		Volumes: slices.Sorted(maps.Keys(c.Volumes)), Kernel: c.Labels[KernelLabel], Boot: c.Labels[BootArgsLabel],
	}, nil
}
