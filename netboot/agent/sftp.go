//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// sftpWord makes the program an SFTP server: where the image has none its SSH server, or ours, runs
// this one, from where the kernel finds it.
const sftpWord = "sftp"

// serveFiles serves the files of the machine on standard input and output, from the home of root.
func serveFiles() {
	if os.Chdir(rootAccount().home) != nil {
		os.Chdir("/")
	}
	if err := newFileServer(os.Stdin, os.Stdout).serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fileServer answers one client of SFTP, see draft-ietf-secsh-filexfer-02, and PROTOCOL of
// OpenSSH for what that adds. It does one request after the other, so that what was written is
// there when the next one is done.
type fileServer struct {
	in    *bufio.Reader
	out   *bufio.Writer
	open  map[string]*openFile // by its handle
	last  int                  // handle that was given
	names map[string]string    // of users and groups
}

// openFile is a file or a directory that the client has open.
type openFile struct {
	*os.File
	appends bool // all that is written goes to its end
}

const (
	longestPacket = 256 << 10 // bytes: as much as OpenSSH takes
	mostData      = 255 << 10 // bytes that are read or written at once: as OpenSSH does
	mostListed    = 100       // files in one answer
)

func newFileServer(in io.Reader, out io.Writer) *fileServer {
	return &fileServer{bufio.NewReaderSize(in, 64<<10), bufio.NewWriterSize(out, 64<<10), map[string]*openFile{}, 0, map[string]string{}}
}

// serve answers until the client has no more requests.
func (s *fileServer) serve() error {
	defer func() {
		for _, f := range s.open {
			f.Close()
		}
	}()
	for packet := make([]byte, longestPacket); ; {
		var head [4]byte
		if _, err := io.ReadFull(s.in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size < 5 || size > longestPacket {
			return fmt.Errorf("a packet of %d bytes", size)
		}
		if _, err := io.ReadFull(s.in, packet[:size]); err != nil {
			return err
		}
		answer := s.answer(packet[0], binary.BigEndian.Uint32(packet[1:]), packet[5:size])
		s.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(answer)))) // Flush tells
		s.out.Write(answer)
		if s.in.Buffered() == 0 {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
	}
}

// The types of requests.
const (
	typeInit = iota + 1
	_
	typeOpen
	typeClose
	typeRead
	typeWrite
	typeLstat
	typeFstat
	typeSetstat
	typeFsetstat
	typeOpendir
	typeReaddir
	typeRemove
	typeMkdir
	typeRmdir
	typeRealpath
	typeStat
	typeRename
	typeReadlink
	typeSymlink
	typeExtended = 200
)

// Answers, in the words of the protocol.
type (
	helloAnswer struct {
		Version    uint32 `sshtype:"2"`
		Extensions []byte `ssh:"rest"`
	}
	statusAnswer struct {
		ID, Code        uint32 `sshtype:"101"`
		Words, Language string
	}
	handleAnswer struct {
		ID     uint32 `sshtype:"102"`
		Handle string
	}
	dataAnswer struct {
		ID   uint32 `sshtype:"103"`
		Data []byte
	}
	namesAnswer struct {
		ID, Count uint32 `sshtype:"104"`
		Names     []byte `ssh:"rest"`
	}
	attrsAnswer struct {
		ID    uint32 `sshtype:"105"`
		Attrs []byte `ssh:"rest"`
	}
	spaceAnswer struct { // of a file system
		ID                                uint32 `sshtype:"201"`
		Bsize, Frsize                     uint64
		Blocks, Bfree, Bavail             uint64
		Files, Ffree, Favail, Fsid, Flags uint64
		Namemax                           uint64
	}
	limitsAnswer struct {
		ID                           uint32 `sshtype:"201"`
		Packet, Read, Write, Handles uint64
	}
)

var (
	errMalformed = errors.New("the request is not in order")
	errUnknown   = errors.New("not supported")
	errNoHandle  = errors.New("there is no such handle")
)

// answer does what a request asks for.
func (s *fileServer) answer(kind uint8, id uint32, fields []byte) []byte {
	if kind == typeInit { // the id is the version there
		return ssh.Marshal(helloAnswer{3, []byte(extensions())})
	}
	answer, err := s.do(kind, id, fields)
	if answer == nil || err != nil {
		status := statusAnswer{ID: id, Code: statusOf(err)}
		if err != nil {
			status.Words = err.Error()
		}
		answer = status
	}
	return ssh.Marshal(answer)
}

// statusOf is the code that an error has in the protocol; see OpenSSH's errno_to_portable.
func statusOf(err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, io.EOF):
		return 1
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return 2
	case errors.Is(err, fs.ErrPermission):
		return 3
	case errors.Is(err, errMalformed):
		return 5
	case errors.Is(err, errUnknown):
		return 8
	}
	return 4
}

// do does what a request asks for. Without an answer and an error it is done.
func (s *fileServer) do(kind uint8, id uint32, fields []byte) (answer any, err error) {
	var first struct { // a path, a handle, the name of an extension
		Text string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(fields, &first) != nil {
		return nil, errMalformed
	}
	switch kind {
	case typeClose, typeRead, typeWrite, typeFstat, typeFsetstat, typeReaddir:
		f := s.open[first.Text]
		if f == nil {
			return nil, errNoHandle
		}
		if kind == typeClose {
			delete(s.open, first.Text)
		}
		return s.withFile(kind, id, f, first.Rest)
	case typeExtended:
		return s.extended(first.Text, id, first.Rest)
	}
	return s.withPath(kind, id, first.Text, first.Rest)
}

// withPath does what is asked for about a path.
func (s *fileServer) withPath(kind uint8, id uint32, name string, rest []byte) (any, error) {
	if name == "" {
		name = "."
	}
	switch kind {
	case typeOpen:
		return s.openPath(id, name, rest)
	case typeOpendir:
		return s.hold(id, name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	case typeLstat:
		return attrsOf(id)(os.Lstat(name))
	case typeStat:
		return attrsOf(id)(os.Stat(name))
	case typeSetstat:
		return nil, setAttrs(name, rest)
	case typeRemove:
		return nil, pathError("remove", name, unix.Unlink(name))
	case typeMkdir:
		a, err := parseAttrs(rest)
		if err != nil {
			return nil, err
		}
		return nil, os.Mkdir(name, a.permissions(0o777))
	case typeRmdir:
		return nil, pathError("remove", name, unix.Rmdir(name))
	case typeRealpath:
		return oneName(id, realPath(name)), nil
	case typeReadlink:
		to, err := os.Readlink(name)
		return oneName(id, to), err
	case typeRename, typeSymlink: // OpenSSH's order has the target of a link first
		to, err := parsePath(rest)
		switch {
		case err != nil:
			return nil, err
		case kind == typeSymlink:
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
	case typeClose:
		return nil, f.Close()
	case typeFstat:
		return attrsOf(id)(f.Stat())
	case typeFsetstat:
		return nil, setAttrs(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), rest) // whatever it is called by now
	case typeReaddir:
		return s.list(id, f)
	case typeRead:
		var p struct {
			Offset uint64
			Length uint32
		}
		if ssh.Unmarshal(rest, &p) != nil {
			return nil, errMalformed
		}
		data := make([]byte, min(p.Length, mostData))
		n, err := f.ReadAt(data, int64(p.Offset))
		if n == 0 && err != nil {
			return nil, err
		}
		return dataAnswer{id, data[:n]}, nil
	case typeWrite:
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

// extensions are those that the client is told of, with their versions.
func extensions() (all string) {
	for _, text := range []string{
		"posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "fstatvfs@openssh.com", "2", "hardlink@openssh.com", "1",
		"fsync@openssh.com", "1", "lsetstat@openssh.com", "1", "limits@openssh.com", "1",
	} {
		all += string(ssh.Marshal(struct{ Text string }{text}))
	}
	return all
}

// extended does what is asked for by an extension.
func (s *fileServer) extended(extension string, id uint32, rest []byte) (any, error) {
	if extension == "limits@openssh.com" {
		return limitsAnswer{id, longestPacket, mostData, mostData, 0}, nil
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

func space(id uint32, st *unix.Statfs_t, err error) (any, error) {
	return spaceAnswer{
		id, uint64(st.Bsize), uint64(st.Frsize), st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, st.Ffree, 0, uint64(st.Flags), uint64(st.Namelen),
	}, err
}
