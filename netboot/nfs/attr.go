package nfs

import (
	"io/fs"
	"math"
	"time"

	"walt/images/content"
)

// The types of files: ftype3 of RFC 1813.
const (
	typeRegular   = 1
	typeDirectory = 2
	typeBlock     = 3
	typeCharacter = 4
	typeSymlink   = 5
	typeFIFO      = 7
)

// typeOf returns the type of a file by its mode. Images have no sockets.
func typeOf(m fs.FileMode) uint32 {
	switch {
	case m.IsDir():
		return typeDirectory
	case m&fs.ModeSymlink != 0:
		return typeSymlink
	case m&fs.ModeCharDevice != 0:
		return typeCharacter
	case m&fs.ModeDevice != 0:
		return typeBlock
	case m&fs.ModeNamedPipe != 0:
		return typeFIFO
	}
	return typeRegular
}

const (
	directorySize = 4096 // bytes that a directory says that it has
	block         = 512  // bytes of disk are counted in these
)

// attributes appends fattr3, 84 bytes: what is known of a file.
func (c *call) attributes(f file) {
	mode, attr := f.Mode(), f.Attr()
	size, used := uint64(f.Size()), uint64(f.Stored()+block-1)/block*block
	if mode.IsDir() {
		size, used = directorySize, directorySize
	}
	c.words(typeOf(mode), permissions(mode), f.Links(), owner(attr.UID), owner(attr.GID))
	c.res.uint64(size)
	c.res.uint64(used)
	c.words(clamp(attr.Major), clamp(attr.Minor))
	c.res.uint64(f.image.fsid())
	c.res.uint64(uint64(f.Number()))
	t := f.ModTime()
	for range 3 { // read, changed, its attributes changed
		c.timestamp(t)
	}
}

// optional appends post_op_attr with attributes, 88 bytes.
func (c *call) optional(f file) {
	c.res.bool(true)
	c.attributes(f)
}

// permissions returns the bits of Linux. A symbolic link always has all of them.
func permissions(m fs.FileMode) uint32 {
	if m&fs.ModeSymlink != 0 {
		return 0o777
	}
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// owner is the number of a user or a group. Linux refuses a file with the last
// number, which means nobody.
func owner(n int) uint32 {
	if n < 0 || int64(n) >= math.MaxUint32 {
		return nobody
	}
	return uint32(n)
}

// timestamp appends nfstime3, which begins in 1970 and ends in 2106.
func (c *call) timestamp(t time.Time) {
	switch s := t.Unix(); {
	case s < 0:
		c.words(0, 0)
	case s > math.MaxUint32:
		c.words(math.MaxUint32, 0)
	default:
		c.words(uint32(s), uint32(t.Nanosecond()))
	}
}

func clamp(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) }

// What a user may do with a file, and asks for with ACCESS.
const (
	accessRead    = 0x01
	accessLookup  = 0x02
	accessModify  = 0x04
	accessExtend  = 0x08
	accessDelete  = 0x10
	accessExecute = 0x20
)

// allowed is what they may do with the file. It only tells the kernel of a machine
// what its users may do there: that machine may read everything. Nobody changes a
// file, but devices and pipes are written to on the machine, not here.
func (who *credentials) allowed(i content.Inode) (bits uint32) {
	mode, attr := i.Mode(), i.Attr()
	perm := uint32(mode.Perm())
	if who.uid == 0 {
		if perm |= 0o6; mode.IsDir() || perm&0o111 != 0 {
			perm |= 0o1
		}
	} else if who.uid == owner(attr.UID) {
		perm >>= 6
	} else if who.in(owner(attr.GID)) {
		perm >>= 3
	}
	if perm&0o4 != 0 {
		bits |= accessRead
	}
	if perm&0o2 != 0 && mode&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		bits |= accessModify | accessExtend
	}
	if perm&0o1 != 0 {
		if mode.IsDir() {
			bits |= accessLookup
		} else {
			bits |= accessExecute
		}
	}
	return bits
}

func (who *credentials) in(group uint32) bool {
	if who.gid == group {
		return true
	}
	for _, g := range who.groups[:who.n] {
		if g == group {
			return true
		}
	}
	return false
}
