package initrd

import (
	"fmt"
	"io"
	"path"
)

// Types of files in modes, as Unix has them.
const (
	typeDir    = 0o040000
	typeDevice = 0o020000
	typeFile   = 0o100000
	typeLink   = 0o120000
)

// cpio writes an archive of the form newc, see Linux
// Documentation/driver-api/early-userspace/buffer-format.rst. Times are zero: the same
// files make the same archive.
type cpio struct {
	w     io.Writer
	inode int
	dirs  map[string]bool // that are there
	err   error
}

// add adds a file and the directories that it is in.
func (c *cpio) add(name string, mode int, content []byte) { c.entry(name, mode, 0, 0, content) }

func (c *cpio) entry(name string, mode, major, minor int, content []byte) {
	if dir := path.Dir(name); dir != "." && !c.dirs[dir] {
		c.entry(dir, typeDir|0o755, 0, 0, nil)
	}
	if mode&typeDir != 0 && mode&typeFile == 0 {
		if c.dirs[name] {
			return
		}
		c.dirs[name] = true
	}
	c.write(name, mode, major, minor, content)
}

// write writes one entry. Name and content are padded to four bytes.
func (c *cpio) write(name string, mode, major, minor int, content []byte) {
	if c.err != nil {
		return
	}
	c.inode++
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name)
	for _, b := range [][]byte{[]byte(head), content} {
		if _, c.err = c.w.Write(b); c.err != nil {
			return
		}
		if _, c.err = c.w.Write(make([]byte, -len(b)&3)); c.err != nil {
			return
		}
	}
}

// close ends the archive.
func (c *cpio) close() error {
	c.inode = -1
	c.write("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}
