package nfs

import (
	"walt/images/content"
)

// listLimit is how many bytes an answer with entries of a directory has at most.
const listLimit = 64 << 10

// Cookies are places in a directory: that before "." is 0, that after it is 1,
// that after ".." is 2. The verifier of an image is always the same, since its
// directories are.

func readdir(c *call)     { c.list(false) }
func readdirplus(c *call) { c.list(true) }

// list answers READDIR, or READDIRPLUS, which returns attributes and handles too.
func (c *call) list(plus bool) {
	dir, stat := c.file()
	cookie, verifier := c.args.uint64(), c.args.uint64()
	names := uint32(listLimit) // how many bytes the entries may take without what is added to them by plus
	if plus {
		names = c.args.uint32()
	}
	room := int(min(c.args.uint32(), listLimit))
	switch {
	case stat != statOK:
		c.words(stat, absent)
		return
	case !dir.Mode().IsDir():
		stat = statNotDirectory
	case cookie != 0 && verifier != dir.image.fsid(), cookie > 1<<32:
		stat = statBadCookie
	default:
		if c.entries(dir, int(cookie), int(min(names, listLimit)), room, plus) {
			return
		}
		stat = statTooSmall
	}
	c.words(stat)
	c.optional(dir)
}

// entries appends the answer with what stands behind a place of a directory; false
// when not even one entry fits.
func (c *call) entries(dir file, place, names, room int, plus bool) bool {
	begin := len(c.res)
	c.words(statOK)
	body := len(c.res)
	c.optional(dir)
	c.res.uint64(dir.image.fsid())
	const end = 4 + 4 // no more entries follow; whether there are any
	for first := true; ; first = false {
		name, kid, more := entry(dir, place)
		whole := len(c.res)
		if more {
			place++
			c.res.bool(true)
			c.res.uint64(uint64(kid.Number()))
			c.res.string(name)
			c.res.uint64(uint64(place))
			names -= len(c.res) - whole - 4
			if plus {
				c.optional(file{dir.image, kid})
				c.res.bool(true)
				c.handle(file{dir.image, kid})
			}
		}
		if len(c.res)-body+end > room || names < 0 {
			c.res = c.res[:whole]
			if first {
				c.res = c.res[:begin]
				return false
			}
			more = true
		} else if more {
			continue
		}
		c.res.bool(false)
		c.res.bool(!more)
		return true
	}
}

// entry returns what stands in a place of a directory.
func entry(dir file, place int) (name string, kid content.Inode, found bool) {
	switch place {
	case 0:
		return ".", dir.Inode, true
	case 1:
		return "..", dir.Parent(), true
	}
	return dir.Entry(place - 2)
}
