//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/reach/files/wire"
)

// withPath does what is asked for about a path.
func (s *fileServer) withPath(kind uint8, id uint32, name string, rest []byte) (any, error) {
	if name == "" {
		name = "."
	}
	switch kind {
	case wire.Open:
		return s.openPath(id, name, rest)
	case wire.Opendir:
		return s.hold(id, name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	case wire.Lstat:
		return attrsOf(id)(os.Lstat(name))
	case wire.Stat:
		return attrsOf(id)(os.Stat(name))
	case wire.Setstat:
		return nil, setAttrs(name, rest)
	case wire.Remove:
		return nil, pathError("remove", name, unix.Unlink(name))
	case wire.Mkdir:
		a, err := parseAttrs(rest)
		if err != nil {
			return nil, err
		}
		return nil, os.Mkdir(name, a.permissions(0o777))
	case wire.Rmdir:
		return nil, pathError("remove", name, unix.Rmdir(name))
	case wire.Realpath:
		return oneName(id, realPath(name)), nil
	case wire.Readlink:
		to, err := os.Readlink(name)
		return oneName(id, to), err
	case wire.Rename, wire.Symlink: // OpenSSH's order has the target of a link first
		to, err := parsePath(rest)
		switch {
		case err != nil:
			return nil, err
		case kind == wire.Symlink:
			return nil, os.Symlink(name, to)
		}
		if _, err := os.Lstat(to); err == nil {
			return nil, pathError("rename", to, unix.EEXIST)
		}
		return nil, os.Rename(name, to)
	}
	return nil, errUnknown
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func parsePath(fields []byte) (string, error) {
	var p struct {
		Path string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(fields, &p) != nil {
		return "", errMalformed
	}
	return p.Path, nil
}

// realPath is a path from the root, without links as far as it is there.
func realPath(name string) string {
	if !path.IsAbs(name) {
		if dir, err := os.Getwd(); err == nil {
			name = dir + "/" + name // not cleaned: ".." may come behind a link
		}
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return path.Clean("/" + name)
}

// openPath opens a file.
func (s *fileServer) openPath(id uint32, name string, rest []byte) (any, error) {
	const reads, writes, appends, creates, truncates, exclusive = 1, 2, 4, 8, 16, 32
	var p struct {
		Flags uint32
		Attrs []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(rest, &p) != nil {
		return nil, errMalformed
	}
	a, err := parseAttrs(p.Attrs)
	if err != nil {
		return nil, err
	}
	how := 0
	switch p.Flags & (reads | writes) {
	case reads:
		how = os.O_RDONLY
	case writes:
		how = os.O_WRONLY
	case reads | writes:
		how = os.O_RDWR
	default:
		return nil, errMalformed
	}
	for flag, means := range map[uint32]int{appends: os.O_APPEND, creates: os.O_CREATE, truncates: os.O_TRUNC, exclusive: os.O_EXCL} {
		if p.Flags&flag != 0 {
			how |= means
		}
	}
	return s.hold(id, name, how, a.permissions(0o666))
}

// hold opens something and gives the client a handle of it. A pipe is not waited for, nor is a
// terminal made that of the server: nothing else would be answered meanwhile.
func (s *fileServer) hold(id uint32, name string, how int, mode fs.FileMode) (any, error) {
	f, err := os.OpenFile(name, how|unix.O_NONBLOCK|unix.O_NOCTTY, mode)
	if err != nil {
		return nil, err
	}
	s.last++
	handle := strconv.Itoa(s.last)
	s.open[handle] = &openFile{f, how&os.O_APPEND != 0}
	return handleAnswer{id, handle}, nil
}

// withFile does what is asked for about a file that is open.
func (s *fileServer) withFile(kind uint8, id uint32, f *openFile, rest []byte) (any, error) {
	switch kind {
	case wire.Close:
		return nil, f.Close()
	case wire.Fstat:
		return attrsOf(id)(f.Stat())
	case wire.Fsetstat:
		return nil, setAttrs(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), rest) // whatever it is called by now
	case wire.Readdir:
		return s.list(id, f)
	case wire.Read:
		var p struct {
			Offset uint64
			Length uint32
		}
		if ssh.Unmarshal(rest, &p) != nil {
			return nil, errMalformed
		}
		data := make([]byte, min(p.Length, wire.MostData))
		n, err := f.ReadAt(data, int64(p.Offset))
		if n == 0 && err != nil {
			return nil, err
		}
		return dataAnswer{id, data[:n]}, nil
	case wire.Write:
		var p struct {
			Offset uint64
			Data   []byte
		}
		if ssh.Unmarshal(rest, &p) != nil {
			return nil, errMalformed
		}
		var err error
		if f.appends {
			_, err = f.Write(p.Data)
		} else {
			_, err = f.WriteAt(p.Data, int64(p.Offset))
		}
		return nil, err
	}
	return nil, errUnknown
}
