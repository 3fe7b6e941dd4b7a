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

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/reach/files/wire"
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

// fileServer answers one client of SFTP, see package wire. It does one request after the other,
// so that what was written is there when the next one is done.
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

const mostListed = 100 // files in one answer

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
	for packet := make([]byte, wire.Longest); ; {
		var head [4]byte
		if _, err := io.ReadFull(s.in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size < 5 || size > wire.Longest {
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
	if kind == wire.Init { // the id is the version there
		return ssh.Marshal(helloAnswer{wire.Protocol, wire.AppendExtensions(nil)})
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
		return wire.CodeOK
	case errors.Is(err, io.EOF):
		return wire.CodeEOF
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return wire.CodeNoFile
	case errors.Is(err, fs.ErrPermission):
		return wire.CodeDenied
	case errors.Is(err, errMalformed):
		return wire.CodeBadMessage
	case errors.Is(err, errUnknown):
		return wire.CodeUnsupported
	}
	return wire.CodeFailure
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
	case wire.Close, wire.Read, wire.Write, wire.Fstat, wire.Fsetstat, wire.Readdir:
		f := s.open[first.Text]
		if f == nil {
			return nil, errNoHandle
		}
		if kind == wire.Close {
			delete(s.open, first.Text)
		}
		return s.withFile(kind, id, f, first.Rest)
	case wire.Extended:
		return s.extended(first.Text, id, first.Rest)
	}
	return s.withPath(kind, id, first.Text, first.Rest)
}
