package nfs

import (
	"walt/images/content"
)

// mountProcedures are those of the protocol of mounting: RFC 1813, appendix I.
var mountProcedures = [...]func(*call){
	0: null,
	1: mnt,
	2: dump,
	3: umnt,
	4: null, // UMNTALL: nobody remembers what was mounted
	5: export,
}

const (
	pathLimit = 1024 // of what is mounted, in bytes

	mountOK          = 0
	mountAccess      = 13
	mountServerFault = 10006
)

// mnt answers with the handle of an image's root. Of what a client may not see,
// it does not learn whether it exists.
func mnt(c *call) {
	path := string(c.args.opaque(pathLimit))
	if c.args.bad {
		return
	}
	var tree *content.Tree
	var id ID
	if len(path) > 0 && path[0] == '/' {
		if d, err := content.ParseDigest(path[1:]); err == nil {
			id = IDOf(d)
			if tree, err = c.server.Exports.Tree(c.server.ctx, c.from, id); err != nil {
				c.server.warn(c.from, "the files of an image that is mounted are not ready", "image", d, "err", err)
				c.words(mountServerFault)
				return
			}
		}
	}
	if tree == nil {
		c.server.warn(c.from, "refused to mount what is not to be seen from this address", "path", path)
		c.words(mountAccess)
		return
	}
	c.words(mountOK, uint32(handleSize))
	c.res = id.appendHandle(c.res, content.Root)
	c.words(1, authSys) // the flavors, the only one of which that is useful
}

// umnt has nothing to forget.
func umnt(c *call) { c.args.opaque(pathLimit) }

// dump lists what is mounted: nobody remembers that.
func dump(c *call) { c.res.bool(false) }

// export lists what can be mounted: who does not know it has no use for it.
func export(c *call) { c.res.bool(false) }
