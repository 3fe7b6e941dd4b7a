package content

import (
	"archive/tar"
	"slices"
	"strings"
)

// capabilityRecord is where archives keep the attribute security.capability of a
// file. They keep others in the same way, which nothing that boots here needs.
const capabilityRecord = "SCHILY.xattr.security.capability"

// capability returns the attribute of an entry, "" when it has none that Linux
// would take: see its cap_convert_nscap.
func capability(h *tar.Header) string {
	const revision = 3 // the byte that has it, of a little-endian word
	value := h.PAXRecords[capabilityRecord]
	if len(value) == 20 && value[revision] == 2 || len(value) == 24 && value[revision] == 3 {
		return strings.Clone(value)
	}
	return ""
}

// Capable is a file that has a capability, under one of its names.
type Capable struct {
	Path       string // without a leading slash; no part of it is a symbolic link
	Capability string // see Attr
	Size       int64  // of the file, in bytes
}

// Capabilities returns all names of files that have a capability, in the order of a
// walk. Like Inode, it numbers the tree when it is the first call.
func (t *Tree) Capabilities() []Capable { return slices.Clone(t.numbered().capable) }
