package images

import (
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/state"
)

// Image is a name for a content: the record that users see as an image. A clone
// is another record with the same Digest.
type Image struct {
	Ref       Ref       `json:"ref"`
	Digest    string    `json:"digest"`              // of the manifest, "sha256:<hex>"
	Models    []Model   `json:"models"`              // that it can boot, as its label lists them
	Preferred string    `json:"preferred,omitempty"` // the label walt.image.preferred-name
	Created   time.Time `json:"created"`             // as its config says, UTC
	Size      int64     `json:"size"`                // bytes of its layers as they came, config and manifest
	Variant   string    `json:"variant,omitempty"`   // that was chosen from a manifest list, as in "linux/arm64"
}

// Boots reports whether the image can boot the model.
func (i Image) Boots(model Model) bool { return slices.Contains(i.Models, model) }

// CloneRef is the name under which the user gets a default image: its preferred
// name, else "<first model>-default".
func (i Image) CloneRef(user auth.Name) Ref {
	name := i.Preferred
	if name == "" {
		name = string(i.Models[0]) + defaultSuffix
	}
	return Ref{user, name, latest}
}

// table holds the images by their full names. A transaction that has listed the
// working set of a user conflicts with any change of it.
var table = state.NewTable[Image]("image").Guarded(1)

// Get returns the record of an image, or an error that wraps state.ErrNotFound.
func Get(r state.Reader, ref Ref) (Image, error) { return table.Get(r, ref.Full()) }

// Find is Get that tells whether there is such an image.
func Find(r state.Reader, ref Ref) (Image, bool, error) { return table.Find(r, ref.Full()) }

// Put writes the record of an image under its Ref.
func Put(tx state.Tx, i Image) error { return table.Put(tx, i.Ref.Full(), i) }

// Delete removes the record of an image; its content stays while another shares it.
func Delete(tx state.Tx, ref Ref) error { return table.Delete(tx, ref.Full()) }

// Of returns the working set of a user, ordered by name and tag.
func Of(r state.Reader, user auth.Name) ([]Image, error) { return list(r, string(user)+"/") }

// hasNone reports whether the user has no image.
func hasNone(r state.Reader, user auth.Name) (bool, error) {
	for _, err := range table.Keys(r, string(user)+"/", "") {
		return false, err
	}
	return true, nil
}

// All returns every image, ordered by full name.
func All(r state.Reader) ([]Image, error) { return list(r, "") }

func list(r state.Reader, under string) ([]Image, error) {
	all, err := table.All(r, under)
	slices.SortFunc(all, func(a, b Image) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
	return all, err
}
