package images

import (
	"errors"
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

var (
	table = state.NewTable[Image]("image")
	// lastPut is a guard: whoever puts an image of a user writes it, whoever
	// relies on having seen every image of the user reads it.
	lastPut = state.NewTable[bool]("image-put")
)

// Get returns the record of an image, or an error that wraps state.ErrNotFound.
func Get(r state.Reader, ref Ref) (Image, error) { return table.Get(r, ref.Full()) }

// Put writes the record of an image under its Ref.
func Put(tx state.Tx, i Image) error {
	return errors.Join(table.Put(tx, i.Ref.Full(), i), lastPut.Put(tx, string(i.Ref.User), true))
}

// Delete removes the record of an image; its content stays while another shares it.
func Delete(tx state.Tx, ref Ref) error { return table.Delete(tx, ref.Full()) }

// Of returns the working set of a user, ordered by name and tag. A transaction
// that calls it conflicts with any change of them, and with new ones.
func Of(r state.Reader, user auth.Name) ([]Image, error) {
	if _, err := lastPut.Get(r, string(user)); err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	return list(r, string(user)+"/")
}

// All returns every image, ordered by full name.
func All(r state.Reader) ([]Image, error) { return list(r, "") }

func list(r state.Reader, under string) ([]Image, error) {
	var all []Image
	for e, err := range table.Scan(r, under, "") {
		if err != nil {
			return nil, err
		}
		all = append(all, e.Value)
	}
	slices.SortFunc(all, func(a, b Image) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
	return all, nil
}
