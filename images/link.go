package images

import (
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/images/source"
)

// Locations that links name beside the labels of registries.
const (
	Here   = "walt"        // the images of this server
	Docker = source.Docker // the docker daemon of this server
	Hub    = source.Hub    // Docker Hub
)

// Link names an image in some location: <location>:<user>/<name>[:<tag>].
type Link struct {
	Location string // Here, Docker, Hub or the label of a registry
	// Ref is the name there, which need not be valid here: its Name may have
	// slashes, dots, underscores. See Suggest.
	Ref Ref
}

// ParseLink parses a clonable link.
func ParseLink(s string) (Link, error) {
	location, rest, ok := strings.Cut(s, ":")
	if !ok || !partForm.MatchString(location) || !strings.Contains(rest, "/") {
		return Link{}, badLink(s)
	}
	if location == Here {
		ref, err := ParseRef(rest)
		return Link{location, ref}, err
	}
	path, tag, tagged := strings.Cut(rest, ":")
	if !tagged {
		tag = latest
	}
	link, ok := newLink(location, path, tag)
	if !ok {
		return Link{}, badLink(s)
	}
	return link, nil
}

func badLink(s string) error {
	return fault.Usagef("invalid image link %q", s).
		WithHint("a link is <location>:<user>/<name>[:<tag>], as in walt:bob/debian (see: help show images)")
}

// newLink links to a repository and tag of a location, if they are valid and the
// path has a user part.
func newLink(location, path, tag string) (Link, bool) {
	if !source.ValidName(path, tag) {
		return Link{}, false
	}
	user, name, _ := strings.Cut(path, "/")
	return Link{location, Ref{auth.Name(user), name, tag}}, true
}

func (l Link) String() string { return l.Location + ":" + l.Ref.String() }

// Suggest returns the name that the image gets in the working set of a user when
// nobody chose another: as there, or what is nearest to it when that is not
// valid here; then changed is set.
func (l Link) Suggest(user auth.Name) (ref Ref, changed bool) {
	ref = Ref{user, validPart(l.Ref.Name), validPart(l.Ref.Tag)}
	if ref.Tag == "" {
		ref.Tag = latest
	}
	if ref.Name == "default" {
		ref.Name = "default-image"
	}
	return ref, ref.Name != l.Ref.Name || ref.Tag != l.Ref.Tag
}

// validPart turns a name or a tag into one that is valid here; "" if nothing of
// it is.
func validPart(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	s = strings.TrimLeft(s, "-")
	return strings.TrimRight(s[:min(len(s), 63)], "-")
}

// ParsePlatform parses the name of a platform, as in "linux/arm/v7", of which there
// may be several, and returns the one that is used here.
func ParsePlatform(s string) (string, bool) { return source.ParsePlatform(s) }
