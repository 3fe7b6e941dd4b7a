package api

import (
	"time"

	"walt/auth"
	"walt/images"
)

// Images is the document of "image show".
type Images struct {
	Images []Image `json:"images"`
}

// Image is an image of this server.
type Image struct {
	FullName images.Ref     `json:"fullname"`
	User     auth.Name      `json:"user"` // whose it is
	Name     string         `json:"name"` // without the user, and without the tag latest
	Models   []images.Model `json:"models"`
	InUse    bool           `json:"in_use"` // a node boots it
	Created  time.Time      `json:"created"`
	Digest   string         `json:"digest"` // of its manifest, "sha256:<hex>"
	Size     int64          `json:"size"`   // as stored in a registry
	Unfit    []images.Model `json:"unfit"`  // of the models, those that cannot run it
}

// NewImages makes a document of images, in their order. uses is how many nodes
// boot each, unfit which of its models cannot run an image.
func NewImages(shown []images.Image, uses map[images.Ref]int, unfit func(images.Image) []images.Model) Images {
	doc := Images{[]Image{}}
	for _, img := range shown {
		doc.Images = append(doc.Images, newImage(img, uses[img.Ref] > 0, unfit(img)))
	}
	return doc
}

func newImage(img images.Image, inUse bool, unfit []images.Model) Image {
	if unfit == nil {
		unfit = []images.Model{}
	}
	return Image{img.Ref, img.Ref.User, img.Ref.Short(), img.Models, inUse, img.Created, img.Digest, img.Size, unfit}
}

// ImageDetail is the document of "image inspect". All text in it but the names
// is what the image says of itself.
type ImageDetail struct {
	Image
	Architecture string            `json:"architecture"`
	OS           string            `json:"os"`
	Layers       []Layer           `json:"layers"` // the lowest first
	Labels       map[string]string `json:"labels"`
	History      []string          `json:"history"`     // how it was built, a line for each step
	SharedWith   []images.Ref      `json:"shared_with"` // other images with the same content
}

// Layer is a layer of an image.
type Layer struct {
	Digest string `json:"digest"` // "sha256:<hex>"
	Size   int64  `json:"size"`   // as stored in a registry
}

// NewImageDetail makes a document of what an image is made of.
func NewImageDetail(img images.Image, inUse bool, d images.Detail, shared []images.Image) ImageDetail {
	doc := ImageDetail{newImage(img, inUse, d.Unfit), d.Architecture, d.OS, []Layer{}, d.Labels, d.History, []images.Ref{}}
	for _, l := range d.Layers {
		doc.Layers = append(doc.Layers, Layer{l.Digest, l.Size})
	}
	for _, other := range shared {
		doc.SharedWith = append(doc.SharedWith, other.Ref)
	}
	return doc
}

// FoundImages is the document of "image search".
type FoundImages struct {
	Images []FoundImage `json:"images"`
}

// FoundImage is an image at some location.
type FoundImage struct {
	Link    string         `json:"link"` // that "image clone" takes
	Models  []images.Model `json:"models"`
	Size    int64          `json:"size"` // as stored there; in a docker daemon, unpacked
	Created time.Time      `json:"created"`
}

// NewFoundImages makes a document of what a search found, in its order.
func NewFoundImages(found []images.Match) FoundImages {
	doc := FoundImages{[]FoundImage{}}
	for _, f := range found {
		doc.Images = append(doc.Images, FoundImage{f.Link.String(), f.Models, f.Size, f.Created})
	}
	return doc
}
