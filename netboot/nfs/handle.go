package nfs

import (
	"encoding/binary"
	"encoding/hex"

	"walt/images/content"
)

// ID names an image in handles: the first half of its digest.
type ID [16]byte

// IDOf is the ID of the image whose manifest has the digest, which is valid.
func IDOf(d content.Digest) (id ID) {
	_, _ = hex.Decode(id[:], []byte(d.Hex())[:2*len(id)]) // a valid one has 64 digits
	return id
}

// Path is what a client mounts to get the files of the image.
func Path(d content.Digest) string { return "/" + string(d) }

// A handle is an ID and the number of a file in that image. One of another form
// needs another length, so that no server takes it for one of its own.
const handleSize = len(ID{}) + 4

func (id ID) appendHandle(b []byte, n content.Ino) []byte {
	return binary.BigEndian.AppendUint32(append(b, id[:]...), uint32(n))
}

// parseHandle takes a handle apart; false when it is none.
func parseHandle(b []byte) (id ID, n content.Ino, ok bool) {
	if len(b) != handleSize {
		return id, 0, false
	}
	copy(id[:], b)
	return id, content.Ino(binary.BigEndian.Uint32(b[len(id):])), true
}

// fsid is the number of an image's file system, the same on all servers.
func (id ID) fsid() uint64 { return binary.BigEndian.Uint64(id[:]) }
