// Package source brings images from where they come from and takes them to where
// they go: registries, Docker Hub and docker daemons. It works with the names
// that things have there and keeps no records; content goes to a content.Store.
// Its one surprising rule: an error that users should read is an *Error, a clause
// that names the location, because several locations may be asked for one image.
package source

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"walt/images/content"
)

// Location is a place outside of this server that has images. Its String is for
// people and never holds credentials.
type Location interface {
	fmt.Stringer
	// Name is what the configuration calls it.
	Name() string
	// Look describes an image without downloading its layers. Of several variants
	// it takes that for the platform, for "" that for the machines of the image.
	// Who waits is told what for.
	Look(ctx context.Context, repository, tag, platform string, tell func(note string)) (Image, error)
	// Search shows the images that the query finds. An error may come after some.
	// found and tell are called by several goroutines.
	Search(ctx context.Context, q Query, found func(Image), tell func(note string)) error
}

// Image is an image in a location.
type Image struct {
	Repository, Tag string
	// Digest is that of its manifest; in a docker daemon, of what is not here, its ID.
	Digest  string
	Labels  map[string]string
	Created time.Time // as its config says, UTC
	Size    int64     // bytes of its layers as they are stored there, config and manifest
	Variant string    // that was chosen from a manifest list, as in "linux/arm/v7"
	// Platform is what it says that it is for, "" when it does not.
	Platform string

	fetch func(ctx context.Context, report func(Progress)) (Image, error)
}

// Fetch brings the content of an image that Look returned to the store of its
// location, and returns the image as it is there. What is there already is not
// downloaded again, and whole layers of a download that fails are kept. report
// may be nil; it is called by several goroutines, but never by two at once.
func (i Image) Fetch(ctx context.Context, report func(Progress)) (Image, error) {
	return i.fetch(ctx, report)
}

// describe notes what a manifest and its config say of the image.
func (i *Image) describe(m content.Manifest, c content.Config) {
	i.Platform = PlatformOf(c)
	i.Digest, i.Labels, i.Created, i.Size = string(m.Self.Digest), c.Config.Labels, c.Created.UTC(), 0
	for _, b := range m.Blobs() {
		i.Size += b.Size
	}
}

// Names of repositories, of which those of images for nodes have a user part, and
// of tags. See
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$`)
	tagForm        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const repositoryLimit = 255 // bytes

// ValidName reports whether a location may have a repository with a user part and
// a tag of these names.
func ValidName(repository, tag string) bool {
	return len(repository) <= repositoryLimit && repositoryForm.MatchString(repository) && tagForm.MatchString(tag)
}

// Query is what a search is for: repositories whose name has Path in it, and tags
// that begin with Tag.
type Query struct {
	Path, Tag string
	// Label is one that the images must have. Not every location heeds it.
	Label string
}

// ParseQuery parses a part of a name, <user>/<name>[:<tag>].
func ParseQuery(text string) Query {
	path, tag, _ := strings.Cut(strings.TrimSpace(text), ":")
	return Query{Path: strings.ToLower(path), Tag: tag}
}

// Matches reports whether the query finds what has the name.
func (q Query) Matches(repository, tag string) bool {
	return q.matchesPath(repository) && strings.HasPrefix(tag, q.Tag)
}

func (q Query) matchesPath(repository string) bool { return strings.Contains(repository, q.Path) }
