//go:build linux

package main

import (
	"errors"
	"io"
	"math"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/reach/files/wire"
)

// extended does what is asked for by an extension.
func (s *fileServer) extended(extension string, id uint32, rest []byte) (any, error) {
	if extension == "limits@openssh.com" {
		return limitsAnswer{id, wire.Longest, wire.MostData, wire.MostData, 0}, nil
	}
	var p struct { // a path or a handle
		Text string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(rest, &p) != nil {
		return nil, errMalformed
	}
	switch extension {
	case "statvfs@openssh.com":
		var st unix.Statfs_t
		return space(id, &st, pathError("statfs", p.Text, unix.Statfs(p.Text, &st)))
	case "lsetstat@openssh.com":
		return nil, setLinkAttrs(p.Text, p.Rest)
	case "copy-data":
		return nil, s.copyData(p.Text, p.Rest)
	case "fsync@openssh.com", "fstatvfs@openssh.com":
		f := s.open[p.Text]
		switch {
		case f == nil:
			return nil, errNoHandle
		case extension == "fsync@openssh.com":
			return nil, f.Sync()
		}
		var st unix.Statfs_t
		return space(id, &st, unix.Fstatfs(int(f.Fd()), &st))
	case "posix-rename@openssh.com", "hardlink@openssh.com":
		to, err := parsePath(p.Rest)
		switch {
		case err != nil:
			return nil, err
		case extension == "hardlink@openssh.com":
			return nil, os.Link(p.Text, to)
		}
		return nil, os.Rename(p.Text, to)
	}
	return nil, errUnknown
}

// copyData copies a part of a file that is open into another one, see
// draft-ietf-secsh-filexfer-extensions-00, section 7.
func (s *fileServer) copyData(handle string, rest []byte) error {
	var p struct {
		Offset, Length uint64 // no length is all that follows
		To             string
		At             uint64
	}
	if ssh.Unmarshal(rest, &p) != nil {
		return errMalformed
	}
	from, to := s.open[handle], s.open[p.To]
	if from == nil || to == nil {
		return errNoHandle
	}
	one, err := from.Stat()
	other, bad := to.Stat()
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	if os.SameFile(one, other) { // it would read what it has written
		return pathError("copy onto itself", from.Name(), unix.EINVAL)
	}
	if p.Length == 0 {
		p.Length = math.MaxInt64
	}
	n, err := io.Copy(io.NewOffsetWriter(to.File, int64(p.At)), io.NewSectionReader(from.File, int64(p.Offset), int64(p.Length)))
	if err == nil && n < int64(p.Length) && p.Length != math.MaxInt64 {
		err = io.EOF // as the draft has it
	}
	return err
}

func space(id uint32, st *unix.Statfs_t, err error) (any, error) {
	return spaceAnswer{
		id, uint64(st.Bsize), uint64(st.Frsize), st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, st.Ffree, 0, uint64(st.Flags), uint64(st.Namelen),
	}, err
}
