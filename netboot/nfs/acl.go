package nfs

// aclProcedures are those of NFS_ACL, which goes with NFS and has no RFC: see
// fs/nfs/nfs3acl.c of Linux. Images have no access control lists, but a Linux whose
// root is an overlay on NFS must be told so: else it lets nobody open a file of
// somebody else (EOPNOTSUPP). A file system is not to be mounted with noacl.
var aclProcedures = [...]func(*call){
	0: null,
	1: getacl,
	2: readOnly(1), // SETACL
}

func getacl(c *call) {
	f, stat := c.file()
	mask := c.args.uint32()
	if stat != statOK {
		c.words(stat, absent)
		return
	}
	c.words(statOK)
	c.optional(f)
	// what was asked for, and of the list itself and that for new files how many
	// entries there are, and the entries
	c.words(mask, 0, 0, 0, 0)
}
