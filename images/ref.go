package images

import (
	"encoding"
	"regexp"
	"strings"

	"walt/auth"
	"walt/fault"
)

// Ref is the full name of an image on this server: <user>/<name>:<tag>. Its
// parts are valid; it is comparable, and the zero Ref names no image.
type Ref struct {
	User auth.Name
	Name string
	Tag  string
}

// latest is the tag that is implied and never shown to people.
const latest = "latest"

var partForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseName parses <name>[:<tag>], the way users call an image of their own.
func ParseName(user auth.Name, s string) (Ref, error) {
	name, tag, tagged := strings.Cut(s, ":")
	if !tagged {
		tag = latest
	}
	if !partForm.MatchString(name) || !partForm.MatchString(tag) {
		return Ref{}, fault.Usagef("invalid image name %q", s).
			WithHint("an image name is 1 to 63 lower-case letters, digits or -, not ending in -,\nwith an optional :tag of the same (see: help show images)")
	}
	if name == "default" {
		return Ref{}, fault.Usagef("the image name %q is reserved", s).
			WithHint("\"default\" stands for the default image of a node's model")
	}
	return Ref{user, name, tag}, nil
}

// ParseOwn is ParseName for an image that is there. Of a link or a full name, which
// are shown for images of others, it says how the user gets at the image.
func ParseOwn(user auth.Name, s string) (Ref, error) {
	ref, err := ParseName(user, s)
	if err == nil {
		return ref, nil
	}
	link, isLink := ParseLink(s)
	if isLink != nil {
		if link, isLink = ParseLink(Here + ":" + s); isLink != nil {
			return ref, err
		}
	}
	if link.Location == Here && link.Ref.User == user {
		return ref, fault.Usagef("%s is your own image", s).WithHint("call it by its name alone: %s", link.Ref.Short())
	}
	return ref, fault.Usagef("%s is not an image of yours", s).WithHint("clone it first: image clone %s NAME", link)
}

// ParseRef parses a full name, <user>/<name>[:<tag>].
func ParseRef(s string) (Ref, error) {
	user, name, ok := strings.Cut(s, "/")
	if !ok {
		return Ref{}, fault.Usagef("invalid full image name %q", s).WithHint("a full name is <user>/<name>[:<tag>]")
	}
	owner := auth.Nobody
	if user != string(auth.Nobody) {
		var err error
		if owner, err = auth.ParseName(user); err != nil {
			return Ref{}, err
		}
	}
	return ParseName(owner, name)
}

// DefaultRef is the image that a free node of the model boots.
func DefaultRef(model Model) Ref { return Ref{auth.Nobody, string(model) + defaultSuffix, latest} }

// IsDefault reports whether r is DefaultRef of a model.
func (r Ref) IsDefault(model Model) bool {
	name, is := strings.CutSuffix(r.Name, defaultSuffix)
	return is && name == string(model) && r.User == auth.Nobody && r.Tag == latest
}

// IsZero reports whether r names no image.
func (r Ref) IsZero() bool { return r == Ref{} }

// Short is the name without the user, as its owner types it: <name>[:<tag>].
func (r Ref) Short() string {
	if r.Tag == latest {
		return r.Name
	}
	return r.Name + ":" + r.Tag
}

// String is the name for people, <user>/<name>[:<tag>].
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	return string(r.User) + "/" + r.Short()
}

// repository is the name without the tag, as other locations have repositories.
func (r Ref) repository() string { return string(r.User) + "/" + r.Name }

// Full is the name for programs, always with its tag: <user>/<name>:<tag>.
func (r Ref) Full() string { return r.repository() + ":" + r.Tag }

var (
	_ encoding.TextMarshaler   = Ref{}
	_ encoding.TextUnmarshaler = (*Ref)(nil)
)

// MarshalText writes the full name with its tag, nothing for the zero Ref.
func (r Ref) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return nil, nil
	}
	return []byte(r.Full()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (r *Ref) UnmarshalText(b []byte) error {
	user, rest, _ := strings.Cut(string(b), "/")
	name, tag, _ := strings.Cut(rest, ":")
	*r = Ref{auth.Name(user), name, tag}
	return nil
}
