//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/reach/files/wire"
)

// attributes are those of a file, as far as a client tells them.
type attributes struct {
	has          uint32 // of wire.HasSize and the like
	size         uint64
	uid, gid     uint32
	mode         uint32
	atime, mtime uint32 // seconds since 1970
}

func parseAttrs(b []byte) (a attributes, err error) {
	take := func(size int) (n uint64) {
		if len(b) < size {
			err, b = errMalformed, make([]byte, size)
		}
		for _, c := range b[:size] {
			n = n<<8 | uint64(c)
		}
		b = b[size:]
		return n
	}
	a.has = uint32(take(4))
	if a.has&wire.HasSize != 0 {
		a.size = take(8)
	}
	for _, f := range []struct {
		has uint32
		to  []*uint32
	}{{wire.HasOwner, []*uint32{&a.uid, &a.gid}}, {wire.HasMode, []*uint32{&a.mode}}, {wire.HasTimes, []*uint32{&a.atime, &a.mtime}}} {
		for _, to := range f.to {
			if a.has&f.has != 0 {
				*to = uint32(take(4))
			}
		}
	}
	return a, err
}

// permissions are those of a file that is made, others if they are untold.
func (a attributes) permissions(others fs.FileMode) fs.FileMode {
	if a.has&wire.HasMode == 0 {
		return others
	}
	return fs.FileMode(a.mode) & fs.ModePerm
}

// setAttrs sets attributes of what a path leads to.
func setAttrs(name string, fields []byte) error {
	a, err := parseAttrs(fields)
	if err == nil && a.has&wire.HasSize != 0 {
		err = os.Truncate(name, int64(a.size))
	}
	if err == nil && a.has&wire.HasOwner != 0 { // before the mode, of which it takes bits away
		err = os.Chown(name, int(a.uid), int(a.gid))
	}
	if err == nil && a.has&wire.HasMode != 0 {
		err = pathError("chmod", name, unix.Chmod(name, a.mode&0o7777))
	}
	if err == nil && a.has&wire.HasTimes != 0 {
		err = a.setTimes(name, 0)
	}
	return err
}

// setLinkAttrs does so with what has the path, also when it is a link, which has no
// permissions.
func setLinkAttrs(name string, fields []byte) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return setAttrs(name, fields)
	}
	a, err := parseAttrs(fields)
	switch {
	case err != nil:
		return err
	case a.has&(wire.HasSize|wire.HasMode) != 0:
		return pathError("change", name, unix.EOPNOTSUPP)
	}
	if a.has&wire.HasOwner != 0 {
		err = os.Lchown(name, int(a.uid), int(a.gid))
	}
	if err == nil && a.has&wire.HasTimes != 0 {
		err = a.setTimes(name, unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}

func (a attributes) setTimes(name string, flags int) error {
	ts := []unix.Timespec{unix.NsecToTimespec(int64(a.atime) * 1e9), unix.NsecToTimespec(int64(a.mtime) * 1e9)}
	return pathError("set the times of", name, unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, flags))
}

// attrsOf makes an answer of what is known of a file.
func attrsOf(id uint32) func(fs.FileInfo, error) (any, error) {
	return func(info fs.FileInfo, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return attrsAnswer{id, appendAttrs(nil, info)}, nil
	}
}

// appendAttrs appends all attributes of a file.
func appendAttrs(b []byte, info fs.FileInfo) []byte {
	st := info.Sys().(*syscall.Stat_t)
	b = binary.BigEndian.AppendUint32(b, wire.HasSize|wire.HasOwner|wire.HasMode|wire.HasTimes)
	b = binary.BigEndian.AppendUint64(b, uint64(st.Size))
	for _, n := range []uint32{st.Uid, st.Gid, st.Mode, uint32(st.Atim.Sec), uint32(st.Mtim.Sec)} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// oneName is an answer that is a path.
func oneName(id uint32, name string) namesAnswer {
	return namesAnswer{id, 1, ssh.Marshal(struct {
		Name, Long string
		Flags      uint32
	}{name, name, 0})}
}

// list answers with the next files of a directory.
func (s *fileServer) list(id uint32, dir *openFile) (any, error) {
	all, err := dir.Readdir(mostListed)
	if err != nil {
		return nil, err
	}
	var names []byte
	for _, info := range all {
		names = append(names, ssh.Marshal(struct{ Name, Long string }{info.Name(), s.long(info)})...)
		names = appendAttrs(names, info)
	}
	return namesAnswer{id, uint32(len(all)), names}, nil
}

// long is the line of a file as "ls -l" has it.
func (s *fileServer) long(info fs.FileInfo) string {
	st := info.Sys().(*syscall.Stat_t)
	form := "Jan _2 15:04"
	if ago := time.Since(info.ModTime()); ago > 365*24*time.Hour/2 || ago < -24*time.Hour {
		form = "Jan _2  2006"
	}
	return fmt.Sprintf("%s %4d %-8s %-8s %12d %s %s", letters(st.Mode), st.Nlink,
		s.name("/etc/passwd", st.Uid), s.name("/etc/group", st.Gid), st.Size, info.ModTime().Format(form), info.Name())
}

// name is what the machine calls a user or a group.
func (s *fileServer) name(file string, number uint32) string {
	digits := strconv.FormatUint(uint64(number), 10)
	name, known := s.names[file+digits]
	if !known {
		name = digits
		if fields := lookUp(file, digits, 3); fields != nil {
			name = fields[0]
		}
		s.names[file+digits] = name
	}
	return name
}

// letters are the type and the permissions of a file as "ls -l" shows them.
func letters(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	for kind, letter := range map[uint32]byte{
		unix.S_IFREG: '-', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b',
	} {
		if mode&unix.S_IFMT == kind {
			b[0] = letter
		}
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit    uint32
		at     int
		letter byte
	}{{unix.S_ISUID, 3, 's'}, {unix.S_ISGID, 6, 's'}, {unix.S_ISVTX, 9, 't'}} {
		if mode&special.bit == 0 {
			continue
		}
		if b[special.at] == '-' {
			special.letter ^= 'a' ^ 'A'
		}
		b[special.at] = special.letter
	}
	return string(b)
}
