package reach

import (
	"io"
	"sync"

	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

// Files has the log told that the user has the files of a node open, until what is returned is closed,
// which closes the stream.
func (d *Doors) Files(user auth.Name, node nodes.Name, stream io.ReadWriteCloser) io.ReadWriteCloser {
	return &files{ReadWriteCloser: stream, left: d.trail.files(user, node)}
}

// files is a stream to the SFTP server of a node.
type files struct {
	io.ReadWriteCloser
	left func(why error)
	once sync.Once

	mu  sync.Mutex
	cut error
}

// Read notes why the stream is cut.
func (f *files) Read(p []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(p)
	if fault.As(err) != nil {
		f.mu.Lock()
		f.cut = err
		f.mu.Unlock()
	}
	return n, err
}

func (f *files) Close() error {
	err := f.ReadWriteCloser.Close()
	f.once.Do(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.left(f.cut)
	})
	return err
}
