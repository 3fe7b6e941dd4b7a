package sim

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path"
	"sync/atomic"
	"syscall"

	"github.com/gliderlabs/ssh"
	"github.com/pkg/sftp"
)

const (
	// filesLimit is how many files may be open on a machine over SFTP.
	filesLimit = 1024
	// listsLimit is how many bytes of memory lists of them may take: apart from the disk, so that
	// a full one can be looked at.
	listsLimit = 64 << 20
)

// served is what clients of SFTP have open on a machine.
type served struct {
	files atomic.Int32
	lists atomic.Int64 // bytes
}

// sftp serves one client of the files of the machine.
func (m *machine) sftp(s ssh.Session) {
	if !m.enter() {
		return
	}
	defer m.running.Done()
	f := sftpFiles{m.disk, &m.served}
	server := sftp.NewRequestServer(s, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f}, sftp.WithStartDirectory(m.home()), sftp.WithRSMaxTxPacket(1<<18-1<<10))
	_ = server.Serve() // it ends when the client goes
}

// sftpFiles is a disk in the library's words. Its paths are absolute.
type sftpFiles struct {
	disk *disk
	open *served
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
	if f.open.files.Add(1) > filesLimit {
		f.open.files.Add(-1)
		return nil, syscall.EMFILE
	}
	return func() { f.open.files.Add(-1) }, nil
}

func (f sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) { return f.OpenFile(r) }

func (f sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) { return f.OpenFile(r) }

func (f sftpFiles) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	done, err := f.count()
	if err != nil {
		return nil, err
	}
	flags := r.Pflags()
	how := access{
		write: flags.Write, create: flags.Creat, exclusive: flags.Excl, truncate: flags.Trunc, appends: flags.Append, mode: 0o644,
	}
	if n := len(r.Attrs); n == 4 || n == 12 { // the library does not tell which they are: clients send permissions, and maybe times
		how.mode = fs.FileMode(binary.BigEndian.Uint32(r.Attrs)) & fs.ModePerm
	}
	h, err := f.disk.open(r.Filepath, how)
	if err != nil {
		done()
		return nil, err
	}
	return counted{ReaderAt: h, WriterAt: h, close: func() {
		_ = h.Close()
		done()
	}}, nil
}

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
	if devices[r.Filepath] != nil {
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
	if f.open.lists.Add(cost) > listsLimit {
		f.open.lists.Add(-cost)
		done()
		return nil, syscall.ENOMEM
	}
	return counted{ListerAt: infos(all), close: func() {
		f.open.lists.Add(-cost)
		done()
	}}, nil
}

func (f sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) { return f.info(r.Filepath, false) }

func (f sftpFiles) info(name string, follow bool) (sftp.ListerAt, error) {
	s, err := f.disk.stat(name, follow)
	if err != nil && devices[name] != nil { // an image may lack what a kernel would have put there
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
