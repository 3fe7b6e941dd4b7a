package content

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Digest names a content by its SHA-256: "sha256:" and 64 hexadecimal digits. A
// parsed one is valid; "" is none.
type Digest string

const algorithm = "sha256:"

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ParseDigest parses a digest. One of another algorithm is an error.
func ParseDigest(s string) (Digest, error) {
	if !digestForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a SHA-256 digest", s)
	}
	return Digest(s), nil
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), algorithm) }

var _ encoding.TextUnmarshaler = (*Digest)(nil)

// UnmarshalText parses a digest: a document with an invalid one is not valid.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDigest(string(b))
	return err
}

// ErrMismatch says that content is not what its digest or its size promised.
var ErrMismatch = errors.New("content does not match its digest")

// Blob describes a content, see
// https://github.com/opencontainers/image-spec/blob/main/descriptor.md
type Blob struct {
	MediaType string `json:"mediaType"`
	Digest    Digest `json:"digest"`
	Size      int64  `json:"size"` // bytes
}

// Manifest lists what an image consists of, see
// https://github.com/opencontainers/image-spec/blob/main/manifest.md
type Manifest struct {
	Self   Blob // the manifest itself
	Config Blob
	Layers []Blob // the lowest first
	Raw    []byte // as it came
}

// defaultManifestType is the media type of a manifest that does not tell its own.
const defaultManifestType = "application/vnd.oci.image.manifest.v1+json"

// ParseManifest parses a manifest and takes its digest.
func ParseManifest(raw []byte) (Manifest, error) {
	var doc struct {
		MediaType string
		Config    Blob
		Layers    []Blob
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return Manifest{}, err
	}
	if doc.MediaType == "" { // OCI has it optional
		doc.MediaType = defaultManifestType
	}
	self := Blob{MediaType: doc.MediaType, Digest: Sum(raw), Size: int64(len(raw))}
	return Manifest{Self: self, Config: doc.Config, Layers: doc.Layers, Raw: raw}, nil
}

// Blobs are all that an image consists of, its manifest last.
func (m Manifest) Blobs() []Blob { return slices.Concat(m.Layers, []Blob{m.Config, m.Self}) }

// Config is what an image says of itself, see
// https://github.com/opencontainers/image-spec/blob/main/config.md
type Config struct {
	Architecture string
	OS           string
	Variant      string // of the architecture, as in "v7"
	Created      time.Time
	Config       struct{ Labels map[string]string }
	RootFS       struct {
		DiffIDs []Digest `json:"diff_ids"` // of the layers, uncompressed
	}
	History []struct {
		CreatedBy string `json:"created_by"`
		Comment   string
	}
}

// ParseConfig parses the config of an image.
func ParseConfig(raw []byte) (c Config, err error) {
	return c, json.Unmarshal(raw, &c)
}
