package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/pkg/sftp"

	"walt/fault"
	"walt/reach/files/wire"
)

// Tree is the files of an image. Its links lead to nowhere outside of it.
type Tree interface {
	fs.ReadDirFS
	fs.ReadLinkFS
	fs.StatFS
	// Reader returns the content of the regular file that a path leads to.
	Reader(name string) (io.ReaderAt, error)
}

// openTree serves a tree, as the server of a node serves its files.
func openTree(ctx context.Context, t Tree) Folder {
	ours, theirs := net.Pipe()
	h := &treeHandlers{Tree: t}
	handlers := sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}
	server := sftp.NewRequestServer(theirs, handlers, sftp.WithRSMaxTxPacket(wire.MostData))
	go server.Serve()                                   // ends when ours is closed
	go ours.Write(begins)                               // ends with that, or when the server reads it
	context.AfterFunc(ctx, func() { _ = ours.Close() }) // ctx ends with its session
	return Folder{ReadWriteCloser: ours, ReadOnly: errReadOnly, Wrong: h.last}
}

// begins is the packet with which a client begins.
var begins = []byte{0, 0, 0, 5, wire.Init, 0, 0, 0, wire.Protocol}

var errReadOnly = errors.Join(fault.Failedf("images cannot be changed here").
	WithHint("change the files on a node that boots a clone of it, or make another (see: help show making-images)"), ErrDenied)

// treeHandlers answer with the library's words what is asked about a tree.
type treeHandlers struct {
	Tree
	mu    sync.Mutex
	wrong error
}

// last is Wrong of the folder.
func (t *treeHandlers) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.wrong
	t.wrong = nil
	return err
}

// errDisk is what is told in the words of SFTP of a disk of the server that fails.
var errDisk = errors.New("the server cannot read it")

// plain returns an error in words that are fit for clients, who need not know where the
// server keeps its files.
func (t *treeHandlers) plain(err error) error {
	if fault.Disk(err) == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = err
	return errDisk
}

// reader is a file of a tree.
type reader struct {
	io.ReaderAt
	of *treeHandlers
}

func (r reader) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	return n, r.of.plain(err)
}

// inside is a path as trees take it.
func inside(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

func (t *treeHandlers) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	file, err := t.Reader(inside(r.Filepath))
	return reader{file, t}, t.plain(err)
}

func (t *treeHandlers) Filewrite(*sftp.Request) (io.WriterAt, error) { return nil, os.ErrPermission }

func (t *treeHandlers) Filecmd(*sftp.Request) error { return os.ErrPermission }

// StatVFS is how much room there is: none.
func (t *treeHandlers) StatVFS(*sftp.Request) (*sftp.StatVFS, error) {
	const readOnly = 1
	return &sftp.StatVFS{Bsize: 4096, Frsize: 4096, Flag: readOnly, Namemax: 255}, nil
}

func (t *treeHandlers) Readlink(name string) (string, error) { return t.ReadLink(inside(name)) }

func (t *treeHandlers) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	info, err := t.Tree.Lstat(inside(r.Filepath))
	return list{info}, t.plain(err)
}

func (t *treeHandlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	name := inside(r.Filepath)
	if r.Method != "List" {
		info, err := t.Stat(name)
		return list{info}, t.plain(err)
	}
	entries, err := t.ReadDir(name)
	return directory(entries), t.plain(err)
}

// list is files that are listed.
type list []fs.FileInfo

func (l list) ListAt(into []os.FileInfo, at int64) (int, error) {
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(into, l[at:])
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}

// directory is what is in one, of which is looked up what is told.
type directory []fs.DirEntry

func (d directory) ListAt(into []os.FileInfo, at int64) (int, error) {
	n := 0
	for ; n < len(into) && at+int64(n) < int64(len(d)); n++ {
		info, err := d[at+int64(n)].Info()
		if err != nil {
			return n, err
		}
		into[n] = info
	}
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}
