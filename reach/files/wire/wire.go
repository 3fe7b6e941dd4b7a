// Package wire is the words of SFTP, version 3, which the server passes on and the agent answers: see
// draft-ietf-secsh-filexfer-02, and PROTOCOL of OpenSSH for what that adds.
package wire

import "encoding/binary"

// Protocol is the version that is spoken.
const Protocol = 3

// The types of packets, section 3.
const (
	Init     = 1
	Version  = 2
	Open     = 3
	Close    = 4
	Read     = 5
	Write    = 6
	Lstat    = 7
	Fstat    = 8
	Setstat  = 9
	Fsetstat = 10
	Opendir  = 11
	Readdir  = 12
	Remove   = 13
	Mkdir    = 14
	Rmdir    = 15
	Realpath = 16
	Stat     = 17
	Rename   = 18
	Readlink = 19
	Symlink  = 20
	Status   = 101
	Handle   = 102
	Data     = 103
	Name     = 104
	Attrs    = 105
	Extended = 200
	Reply    = 201 // to an extended request
)

// The codes of a status, section 7.
const (
	CodeOK          = 0
	CodeEOF         = 1
	CodeNoFile      = 2
	CodeDenied      = 3
	CodeFailure     = 4
	CodeBadMessage  = 5
	CodeLost        = 7
	CodeUnsupported = 8
)

// What attributes tell of a file, in the order in which they do, section 5.
const (
	HasSize     = 1 << 0
	HasOwner    = 1 << 1
	HasMode     = 1 << 2
	HasTimes    = 1 << 3
	HasExtended = 1 << 31
)

// Bounds in bytes, as OpenSSH has them.
const (
	// Longest is how many a packet may have, from its type on.
	Longest = 256 << 10
	// MostData is how many are read or written by one request.
	MostData = 255 << 10
)

// AppendExtensions appends the extensions that clients are told of, with their versions.
func AppendExtensions(b []byte) []byte {
	for _, text := range []string{
		"posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "fstatvfs@openssh.com", "2", "hardlink@openssh.com", "1",
		"fsync@openssh.com", "1", "lsetstat@openssh.com", "1", "limits@openssh.com", "1", "copy-data", "1",
	} {
		b = AppendText(b, text)
	}
	return b
}

// AppendText appends a string: its length, and its bytes.
func AppendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}
