package nfs

import (
	"walt/images/content"
)

// nfsProcedures are those of NFS: RFC 1813, section 3.3.
var nfsProcedures = [...]func(*call){
	0:  null,
	1:  getattr,
	2:  readOnly(2), // SETATTR
	3:  lookup,
	4:  access,
	5:  readlink,
	6:  read,
	7:  readOnly(2), // WRITE
	8:  readOnly(2), // CREATE
	9:  readOnly(2), // MKDIR
	10: readOnly(2), // SYMLINK
	11: readOnly(2), // MKNOD
	12: readOnly(2), // REMOVE
	13: readOnly(2), // RMDIR
	14: readOnly(4), // RENAME
	15: readOnly(3), // LINK
	16: readdir,
	17: readdirplus,
	18: fsstat,
	19: fsinfo,
	20: pathconf,
	21: readOnly(2), // COMMIT
}

// What comes of a call: nfsstat3.
const (
	statOK           = 0
	statNoEntry      = 2
	statIO           = 5
	statNotDirectory = 20
	statIsDirectory  = 21
	statInvalid      = 22
	statReadOnly     = 30
	statNameTooLong  = 63
	statStale        = 70
	statBadHandle    = 10001
	statBadCookie    = 10003
	statTooSmall     = 10005
	statJukebox      = 10008 // the client is to ask again later, and does
)

// absent is post_op_attr, or another optional part of an answer, that is not there.
const absent = 0

const (
	handleLimit  = 64        // bytes of a handle, in the protocol
	elementLimit = 255       // bytes of a name in a directory, in Linux
	readLimit    = 128 << 10 // bytes of a content in an answer: as many as Linux reads ahead
	writeLimit   = 4 << 10   // bytes of writes that are refused, rather than their connection closed
	pageSize     = 4 << 10
)

// file is a file of an image.
type file struct {
	image ID
	content.Inode
}

// file takes a handle from the arguments, and returns the file or what is wrong.
func (c *call) file() (f file, stat uint32) {
	id, number, valid := parseHandle(c.args.opaque(handleLimit))
	if !valid {
		return f, statBadHandle
	}
	tree, err := c.server.Exports.Tree(c.server.ctx, c.from, id)
	if err != nil {
		c.server.warn(c.from, "the files of an image are not ready: a machine waits", "err", err)
		return f, statJukebox
	}
	if tree != nil {
		if i, found := tree.Inode(number); found {
			return file{id, i}, statOK
		}
	}
	c.server.warn(c.from, "refused a handle of what is not to be seen from this address")
	return f, statStale
}

// readOnly is a procedure that changes something, which has no effect. The answer
// ends with as many optional attributes.
func readOnly(attributes int) func(*call) {
	return func(c *call) {
		c.words(statReadOnly)
		for range attributes {
			c.words(absent)
		}
	}
}

func getattr(c *call) {
	f, stat := c.file()
	c.words(stat)
	if stat == statOK {
		c.attributes(f)
	}
}

func lookup(c *call) {
	dir, stat := c.file()
	name := c.args.opaque(recordLimit)
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	kid, found := dir.Inode, true
	switch {
	case !dir.Mode().IsDir():
		stat = statNotDirectory
	case len(name) > elementLimit:
		stat = statNameTooLong
	case string(name) == ".":
	case string(name) == "..":
		kid = dir.Parent()
	default:
		kid, found = dir.Lookup(string(name))
	}
	if !found {
		stat = statNoEntry
	}
	c.words(stat)
	if stat == statOK {
		c.handle(file{dir.image, kid})
		c.optional(file{dir.image, kid})
	}
	c.optional(dir)
}

// handle appends the handle of a file, 24 bytes.
func (c *call) handle(f file) {
	c.words(uint32(handleSize))
	c.res = f.image.appendHandle(c.res, f.Number())
}

func access(c *call) {
	f, stat := c.file()
	asked := c.args.uint32()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	c.words(statOK)
	c.optional(f)
	c.words(asked & c.who.allowed(f.Inode))
}

func readlink(c *call) {
	f, stat := c.file()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	target := f.Target()
	if target == "" {
		c.words(statInvalid)
		c.optional(f)
		return
	}
	c.words(statOK)
	c.optional(f)
	c.res.string(target)
}

func read(c *call) {
	f, stat := c.file()
	offset, count := c.args.uint64(), c.args.uint32()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	begin := len(c.res)
	switch mode := f.Mode(); {
	case mode.IsDir():
		stat = statIsDirectory
	case !mode.IsRegular():
		stat = statInvalid
	default:
		if err := c.content(f, offset, count); err != nil {
			c.server.warn(c.from, "a file of an image cannot be read", "err", err)
			c.res = c.res[:begin]
			stat = statIO
		}
	}
	if stat != statOK {
		c.words(stat)
		c.optional(f)
	}
}

// content appends the answer with what a file holds from an offset on.
func (c *call) content(f file, offset uint64, count uint32) error {
	n := 0
	if size := uint64(f.Size()); offset < size {
		n = int(min(uint64(count), readLimit, size-offset))
	}
	c.words(statOK)
	c.optional(f)
	c.words(uint32(n))
	c.res.bool(offset+uint64(n) >= uint64(f.Size()))
	c.words(uint32(n))
	if n > 0 {
		if _, err := f.ReadAt(c.res.grow(n), int64(offset)); err != nil {
			return err
		}
		c.read.Add(int64(n))
	}
	c.res.pad(n)
	return nil
}

func fsstat(c *call) {
	f, stat := c.file()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	files, bytes := f.Usage()
	c.words(statOK)
	c.optional(f)
	for _, v := range []uint64{uint64(bytes), 0, 0, uint64(files), 0, 0} { // in all, free, free for the user
		c.res.uint64(v)
	}
	c.words(1<<32 - 1) // seconds for which this stays true
}

// What a file system can do: FSINFO.
const (
	hasHardlinks = 0x01
	hasSymlinks  = 0x02
	isUniform    = 0x08 // PATHCONF is the same for all files
)

func fsinfo(c *call) {
	f, stat := c.file()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	c.words(statOK)
	c.optional(f)
	c.words(readLimit, readLimit, pageSize)   // reads: the most, the best, multiples of
	c.words(writeLimit, writeLimit, pageSize) // the same for writes
	c.words(listLimit)                        // READDIR: the best
	c.res.uint64(1<<63 - 1)                   // the longest file
	c.words(0, 1)                             // times are exact to the nanosecond
	c.words(hasHardlinks | hasSymlinks | isUniform)
}

func pathconf(c *call) {
	f, stat := c.file()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	c.words(statOK)
	c.optional(f)
	c.words(1<<32-1, elementLimit) // links of a file, bytes of a name
	for _, v := range []bool{
		true,  // longer names are refused
		true,  // only root gives files away
		false, // names that differ in case alone are the same
		true,  // the case of names is kept
	} {
		c.res.bool(v)
	}
}
