package sim

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/gliderlabs/ssh"
	"github.com/pkg/sftp"
)

// filesLimit is how many files may be open on a machine over SFTP.
const filesLimit = 1024

// sftp serves one client of the files of the machine.
func (m *machine) sftp(s ssh.Session) {
	if !m.enter() {
		return
	}
	defer m.running.Done()
	f := sftpFiles{m.disk, &m.files}
	server := sftp.NewRequestServer(s, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f}, sftp.WithStartDirectory(m.home()), sftp.WithRSMaxTxPacket(1<<18-1<<10))
	_ = server.Serve() // it ends when the client goes
}

// sftpFiles is a disk in the library's words. Its paths are absolute.
type sftpFiles struct {
	disk *disk
	open *atomic.Int32 // files, on the machine
}

// counted is something that is open.
type counted struct {
	io.ReaderAt
	io.WriterAt
	sftp.ListerAt
	close func()
}

func (c counted) Close() error {
	c.close()
	return nil
}

// count notes that one more file is open. What it returns is called once.
func (f sftpFiles) count() (close func(), err error) {
	if f.open.Add(1) > filesLimit {
		f.open.Add(-1)
		return nil, syscall.EMFILE
	}
	return func() { f.open.Add(-1) }, nil
}

func (f sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) { return f.OpenFile(r) }

func (f sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) { return f.OpenFile(r) }

func (f sftpFiles) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	done, err := f.count()
	if err != nil {
		return nil, err
	}
	var h *handle
	switch r.Filepath {
	case "/dev/null":
		return counted{ReaderAt: strings.NewReader(""), WriterAt: nowhere{}, close: done}, nil
	case "/dev/zero":
		return counted{ReaderAt: nowhere{}, WriterAt: nowhere{}, close: done}, nil
	}
	flags := r.Pflags()
	mode := fs.FileMode(0o644)
	if n := len(r.Attrs); n == 4 || n == 12 { // the library does not tell which they are: clients send permissions, and maybe times
		mode = fs.FileMode(binary.BigEndian.Uint32(r.Attrs)) & fs.ModePerm
	}
	if h, err = f.disk.openAt(r.Filepath, flags, mode); err != nil {
		done()
		return nil, err
	}
	return counted{ReaderAt: h, WriterAt: h, close: func() {
		_ = h.Close()
		done()
	}}, nil
}

// nowhere is the null device for writing, and the one of zeros for reading.
type nowhere struct{}

func (nowhere) ReadAt(p []byte, _ int64) (int, error) { return zeros{}.Read(p) }

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func (f sftpFiles) Filecmd(r *sftp.Request) error {
	switch r.Method {
	case "Setstat":
		return f.setStat(r)
	case "Rename":
		if _, err := f.disk.stat(r.Target, false); err == nil { // as the protocol has it
			return syscall.EEXIST
		}
		return f.disk.rename(r.Filepath, r.Target)
	case "Rmdir", "Remove":
		info, err := f.disk.stat(r.Filepath, false)
		switch {
		case err != nil:
			return err
		case r.Method == "Rmdir" && !info.IsDir():
			return syscall.ENOTDIR
		case r.Method == "Remove" && info.IsDir():
			return syscall.EISDIR
		}
		return f.disk.remove(r.Filepath, false)
	case "Mkdir":
		return f.disk.mkdir(r.Filepath)
	case "Symlink":
		return f.disk.symlink(r.Filepath, r.Target)
	}
	return sftp.ErrSSHFxOpUnsupported
}

func (f sftpFiles) PosixRename(r *sftp.Request) error { return f.disk.rename(r.Filepath, r.Target) }

func (f sftpFiles) setStat(r *sftp.Request) error {
	to, has := r.Attributes(), r.AttrFlags()
	if r.Filepath == "/dev/null" || r.Filepath == "/dev/zero" {
		return nil
	}
	if has.Size {
		if err := f.disk.truncate(r.Filepath, int64(to.Size)); err != nil {
			return err
		}
	}
	return f.disk.change(r.Filepath, func(s *stat) {
		if has.Permissions {
			const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
			s.mode = s.mode&^bits | to.FileMode()&bits
		}
		if has.Acmodtime {
			s.mtime = to.ModTime()
		}
	})
}

// StatVFS is what is left for changes.
func (f sftpFiles) StatVFS(*sftp.Request) (*sftp.StatVFS, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	free := uint64(f.disk.free) / blockSize
	return &sftp.StatVFS{Bsize: blockSize, Frsize: blockSize, Blocks: diskSize / blockSize, Bfree: free, Bavail: free, Namemax: 255}, nil
}

func (f sftpFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "List" {
		return f.info(r.Filepath, true)
	}
	done, err := f.count()
	if err != nil {
		return nil, err
	}
	all, err := f.disk.list(r.Filepath)
	if err != nil {
		done()
		return nil, err
	}
	const each = 256 // bytes of memory
	cost := int64(len(all)) * each
	if err := f.disk.borrow(cost); err != nil {
		done()
		return nil, err
	}
	return counted{ListerAt: infos(all), close: func() {
		_ = f.disk.borrow(-cost)
		done()
	}}, nil
}

func (f sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) { return f.info(r.Filepath, false) }

func (f sftpFiles) info(name string, follow bool) (sftp.ListerAt, error) {
	s, err := f.disk.stat(name, follow)
	if err != nil && (name == "/dev/null" || name == "/dev/zero") { // an image may lack what a kernel would have put there
		s, err = stat{name: path.Base(name), mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}, nil
	}
	return infos{s}, err
}

func (f sftpFiles) Readlink(name string) (string, error) { return f.disk.readLink(name) }

// infos is files that are listed.
type infos []stat

func (l infos) ListAt(into []os.FileInfo, at int64) (int, error) {
	n := 0
	for ; n < len(into) && at+int64(n) < int64(len(l)); n++ {
		into[n] = l[at+int64(n)]
	}
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}

// openAt opens a file for reading and writing anywhere.
func (d *disk) openAt(name string, how sftp.FileOpenFlags, mode fs.FileMode) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.find(name, true)
	switch {
	case err != nil:
		return nil, err
	case p.file != nil && how.Creat && how.Excl:
		return nil, syscall.EEXIST
	case p.file == nil && !how.Creat:
		return nil, syscall.ENOENT
	case p.file == nil:
		if err := d.make(p, &file{mode: mode}); err != nil {
			return nil, err
		}
		if p, err = d.existing(name, true); err != nil {
			return nil, err
		}
	case p.file.mode.IsDir():
		return nil, syscall.EISDIR
	case !p.file.mode.IsRegular():
		return nil, syscall.ENXIO // there is no device behind it
	}
	f := p.file
	h := &handle{disk: d, file: f, appends: how.Append}
	if !how.Write {
		if f.below != "" {
			if h.image, err = d.reader(f.below); err != nil {
				return nil, err
			}
		}
		f.open++
		return h, nil
	}
	if err := d.keep(p); err != nil {
		return nil, err
	}
	if how.Trunc {
		f.below = ""
		err = d.setSize(f, 0)
	} else {
		err = d.take(f)
	}
	if err != nil {
		return nil, err
	}
	f.mtime = d.now()
	f.open++
	return h, nil
}

// reader returns the content of a file of the image, which stays as it is.
func (d *disk) reader(below string) (io.ReaderAt, error) {
	if tree, is := d.image.(interface {
		Reader(name string) (io.ReaderAt, error)
	}); is {
		return tree.Reader(below)
	}
	f, err := d.image.Open(below)
	if err != nil {
		return nil, err
	}
	if r, is := f.(io.ReaderAt); is {
		return r, nil
	}
	return nil, syscall.ENXIO
}

// truncate gives a file another size; what is new is zero.
func (d *disk) truncate(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.existing(name, true)
	switch {
	case err != nil:
		return err
	case p.file.mode.IsDir():
		return syscall.EISDIR
	case !p.file.mode.IsRegular():
		return syscall.EINVAL
	}
	if err := d.keep(p); err != nil {
		return err
	}
	if err := d.take(p.file); err != nil {
		return err
	}
	p.file.mtime = d.now()
	return d.setSize(p.file, size)
}

// setSize is resize that leaves nothing of what was cut off.
func (d *disk) setSize(f *file, size int64) error {
	if size < 0 || size > diskSize {
		return syscall.ENOSPC
	}
	if at := size % blockSize; size < f.size && at > 0 {
		clear(f.blocks[size/blockSize][at:])
	}
	return d.resize(f, size)
}

// ReadAt reads what is there now: of a file of the image, as it was opened.
func (h *handle) ReadAt(p []byte, off int64) (n int, err error) {
	if h.image != nil {
		return h.image.ReadAt(p, off)
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if off < 0 {
		return 0, syscall.EINVAL
	}
	for n < len(p) {
		if off >= h.file.size {
			return n, io.EOF
		}
		block := h.file.blocks[off/blockSize]
		part := copy(p[n:], block[off%blockSize:min(blockSize, h.file.size-off/blockSize*blockSize)])
		n, off = n+part, off+int64(part)
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (n int, err error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.appends {
		off = h.file.size
	}
	if off < 0 || off > diskSize {
		return 0, syscall.EFBIG
	}
	if end := off + int64(len(p)); end > h.file.size {
		if err := h.disk.setSize(h.file, end); err != nil {
			return 0, err
		}
	}
	for n < len(p) {
		part := copy(h.file.blocks[off/blockSize][off%blockSize:], p[n:])
		n, off = n+part, off+int64(part)
	}
	h.file.mtime = h.disk.now()
	return n, nil
}
