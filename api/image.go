package api

import (
	"time"

	"walt/auth"
	"walt/images"
	"walt/nodes"
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
	Boots    *bool          `json:"boots"`  // machines of this server; null when that is not known, or nobody wants it
	Reason   string         `json:"reason"` // why it does not boot
}

// NewImages makes a document of images, in their order. uses is how many nodes
// boot each, unfit which of its models cannot run an image, outlooks what comes of
// booting them.
func NewImages(shown []images.Image, uses map[images.Ref]int, unfit func(images.Image) []images.Model, outlooks map[images.Ref]nodes.Outlook) Images {
	doc := Images{[]Image{}}
	for _, img := range shown {
		doc.Images = append(doc.Images, newImage(img, uses[img.Ref] > 0, unfit(img), outlooks))
	}
	return doc
}

func newImage(img images.Image, inUse bool, unfit []images.Model, outlooks map[images.Ref]nodes.Outlook) Image {
	if unfit == nil {
		unfit = []images.Model{}
	}
	i := Image{img.Ref, img.Ref.User, img.Ref.Short(), img.Models, inUse, img.Created, img.Digest, img.Size, unfit, nil, ""}
	if o, known := outlooks[img.Ref]; known {
		boots := o.Why == ""
		i.Boots, i.Reason = &boots, o.Why
	}
	return i
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
	// Of one that boots machines of this server:
	Kernel     string     `json:"kernel"`      // its version
	KernelFrom images.Ref `json:"kernel_from"` // the image that lends it; empty when it is its own
	Firmware   []Firmware `json:"firmware"`    // that is missing
}

// Firmware is a file that a network driver of an image names, and that is not there.
type Firmware struct {
	Driver string `json:"driver"`
	File   string `json:"file"`  // below /lib/firmware
	Large  bool   `json:"large"` // it is there, but too large, or damaged
}

// Layer is a layer of an image.
type Layer struct {
	Digest string `json:"digest"` // "sha256:<hex>"
	Size   int64  `json:"size"`   // as stored in a registry
}

// NewImageDetail makes a document of what an image is made of.
func NewImageDetail(img images.Image, inUse bool, d images.Detail, shared []images.Image, outlooks map[images.Ref]nodes.Outlook, missing []nodes.Firmware) ImageDetail {
	o := outlooks[img.Ref]
	doc := ImageDetail{newImage(img, inUse, d.Unfit, outlooks), d.Architecture, d.OS, []Layer{}, d.Labels, d.History, []images.Ref{}, o.Kernel, o.Lender, []Firmware{}}
	for _, f := range missing {
		doc.Firmware = append(doc.Firmware, Firmware(f))
	}
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
