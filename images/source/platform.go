package source

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/content"
)

// Machine is a kind of machine that an image is for.
type Machine struct {
	Model string
	Runs  []string // platforms, the best first, as in "linux/arm/v7"
}

// Platforms tells for which machines an image is wanted: by its name and its
// labels, which are nil while they are not known. None leaves it to what this
// server is.
type Platforms func(ctx context.Context, repository string, labels map[string]string) ([]Machine, error)

const (
	listDepth = 4   // lists in one another
	listLimit = 200 // variants of one image
	readLimit = 50  // entries of lists that do not tell their platform
)

var platformForm = regexp.MustCompile(`^linux/[a-z0-9]+(/v[0-9]+)?$`)

// ParsePlatform parses the name of a platform, as in "linux/arm/v7", of which there
// may be several: "linux/arm" is the same.
func ParsePlatform(s string) (string, bool) {
	if !platformForm.MatchString(s) {
		return "", false
	}
	parts := append(strings.Split(s, "/"), "")
	return platformOf(parts[0], parts[1], parts[2]), true
}

// variant is one image of a list.
type variant struct {
	digest   string
	platform string // "linux/arm64"
}

// platformOf names a platform in one way: arm of no version is v7, and arm64 is v8,
// as container tools take them. See
// https://github.com/opencontainers/image-spec/blob/main/image-index.md
func platformOf(os, architecture, version string) string {
	switch {
	case architecture == "arm" && version == "":
		version = "v7"
	case architecture == "arm" && !strings.HasPrefix(version, "v"):
		version = "v" + version
	case architecture == "arm64" && (version == "v8" || version == "8"), architecture == "amd64" && version == "v1":
		version = ""
	}
	if version != "" {
		version = "/" + version
	}
	return os + "/" + architecture + version
}

// variants lists the images for linux of a list, those of lists in it too. What an
// entry does not tell of its platform, its config does.
func (f finder) variants(ctx context.Context, list *v1.IndexManifest) ([]variant, error) {
	l := lister{finder: f, read: map[string]bool{}}
	err := l.add(ctx, list, 1)
	if err == nil && len(l.all) == 0 && l.absent != "" {
		err = Unusable(f, "lacks its part %s", l.absent)
	}
	return l.all, err
}

// lister collects the variants of a list. A few bytes of lists in lists may stand
// for any number of entries: each manifest is read once, and not too many of them.
type lister struct {
	finder
	all    []variant
	absent string          // one that the holder does not have
	read   map[string]bool // by digest
}

func (l *lister) add(ctx context.Context, list *v1.IndexManifest, depth int) error {
	for _, d := range list.Manifests {
		if d.Digest.Algorithm != "sha256" || d.MediaType != "" && !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
			continue
		}
		if len(l.all) == listLimit {
			return nil
		}
		told := d.Platform != nil && d.Platform.Architecture != ""
		if told && d.Platform.OS != "linux" {
			continue // another system, or a note about a variant
		}
		if !l.has(d.Digest.String()) {
			l.absent = d.Digest.String()
			continue
		}
		if told && !d.MediaType.IsIndex() {
			l.all = append(l.all, variant{d.Digest.String(), platformOf(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant)})
			continue
		}
		if err := l.look(ctx, d.Digest.String(), depth); err != nil {
			return err
		}
	}
	return nil
}

// look adds what an entry is that does not say so itself.
func (l *lister) look(ctx context.Context, digest string, depth int) error {
	if l.read[digest] {
		return nil
	}
	if len(l.read) == readLimit {
		return Unusable(l, "has a manifest list with more than %d entries that do not tell what they are for", readLimit)
	}
	l.read[digest] = true
	raw, kind, err := l.manifest(ctx, digest)
	if err != nil {
		return err
	}
	if kind.IsIndex() {
		if depth == listDepth {
			return Unusable(l, "has more than %d manifest lists in one another", listDepth)
		}
		inner, err := parseList(l, raw)
		if err != nil {
			return err
		}
		return l.add(ctx, inner, depth+1)
	}
	_, config, _, err := l.described(ctx, raw, kind)
	if err == nil && config.OS == "linux" {
		l.all = append(l.all, variant{digest, platformOf(config.OS, config.Architecture, config.Variant)})
	}
	return err
}

// choose picks the variant that all machines run, the best for the first of them;
// without any, rather one for a machine like this server than another.
func (f finder) choose(has []variant, machines []Machine) (variant, error) {
	if len(machines) == 0 && len(has) > 0 {
		i := slices.IndexFunc(has, func(v variant) bool { return v.platform == platformOf("linux", runtime.GOARCH, "") })
		return has[max(i, 0)], nil
	}
	if len(machines) > 0 {
		for _, want := range machines[0].Runs {
			i := slices.IndexFunc(has, func(v variant) bool { return v.platform == want })
			if i >= 0 && len(unfit(want, machines)) == 0 {
				return has[i], nil
			}
		}
	}
	if len(has) == 0 {
		return variant{}, Unusable(f, "is a list of images, none of which is for linux")
	}
	var names []string
	for _, v := range has {
		names = append(names, v.platform)
	}
	slices.Sort(names)
	e := Unusable(f, "has no variant for %s, only for: %s", needs(machines), strings.Join(slices.Compact(names), ", "))
	e.Hint += "\n" + f.choice
	return variant{}, e
}

// unfit returns the models whose machines do not run a platform.
func unfit(platform string, machines []Machine) (models []string) {
	for _, m := range machines {
		if !slices.Contains(m.Runs, platform) {
			models = append(models, m.Model)
		}
	}
	return models
}

// needs says what each of the machines runs.
func needs(machines []Machine) string {
	var all []string
	for _, m := range machines {
		runs := strings.Join(m.Runs, " or ")
		if m.Model != "" {
			runs = m.Model + " (" + runs + ")"
		}
		all = append(all, runs)
	}
	if len(all) == 0 {
		return "linux"
	}
	return strings.Join(all, " and ")
}

func parseList(at fmt.Stringer, raw []byte) (*v1.IndexManifest, error) {
	list, err := v1.ParseIndexManifest(strings.NewReader(string(raw)))
	if err != nil {
		return nil, Unusable(at, "has a manifest list that is not valid")
	}
	return list, nil
}

// PlatformOf is the platform that the config of an image names, or "" when it
// names none.
func PlatformOf(c content.Config) string { return platformIfTold(c.OS, c.Architecture, c.Variant) }

func platformIfTold(os, architecture, version string) string {
	if os == "" || architecture == "" {
		return ""
	}
	return platformOf(os, architecture, version)
}

// only refuses an image of one platform that is not the wanted one. What does not
// say what it is for may be for that.
func (i Image) only(at fmt.Stringer, wanted, hint string) error {
	if wanted == "" || i.Platform == "" || i.Platform == wanted {
		return nil
	}
	e := Unusable(at, "is for %s alone, not for %s", i.Platform, wanted)
	e.Hint = hint
	return e
}
