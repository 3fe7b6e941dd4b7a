package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"

	"walt/fault"
	"walt/reach/files/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeFolders has folders by their names.
type fakeFolders map[string]func(ctx context.Context) (Folder, error)

func (f fakeFolders) Look(_ context.Context, name string) error {
	if f[name] == nil {
		return errors.Join(fault.Failedf("there is no %s", name), ErrNone)
	}
	return nil
}

func (f fakeFolders) Open(ctx context.Context, name string) (Folder, error) {
	if err := f.Look(ctx, name); err != nil {
		return Folder{}, err
	}
	return f[name](ctx)
}

func (f fakeFolders) List(_ context.Context, after string, most int) (names []string, err error) {
	for name := range f {
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), most)], nil
}

// host is a folder with the files of this machine.
func host(ctx context.Context) (Folder, error) {
	ours, theirs := net.Pipe()
	server, err := sftp.NewServer(theirs)
	if err != nil {
		return Folder{}, err
	}
	go server.Serve()
	go ours.Write(begins)
	context.AfterFunc(ctx, func() { ours.Close() })
	return Folder{ReadWriteCloser: ours}, nil
}

// client is one of a session.
type client struct {
	*sftp.Client
	in    net.Conn
	ended chan error

	mu   sync.Mutex
	told []string
}

// use begins a session.
func use(t *testing.T, f Folders) *client {
	t.Helper()
	c, theirs := begun(t, f)
	var err error
	if c.Client, err = sftp.NewClientPipe(theirs, theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Client.Close() })
	return c
}

// begun begins a session whose client is spoken for by the test.
func begun(t *testing.T, f Folders) (*client, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{in: theirs, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c.ended <- Serve(ctx, f, ours, ours, c.tell)
		ours.Close()
	}()
	t.Cleanup(func() {
		theirs.Close()
		cancel()
		if err := <-c.ended; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
	return c, theirs
}

func (c *client) tell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, fault.Line(err))
}

func (c *client) wasTold(words string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.told, func(s string) bool { return strings.Contains(s, words) })
}

// What the server of a folder can do, its clients can.
func TestPassedOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := use(t, fakeFolders{"rpi-3": host})
	at := "/rpi-3" + dir
	content := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	f, err := c.Create(at + "/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for what, err := range map[string]error{
		"fsync": f.Sync(), "close": f.Close(), "chmod": c.Chmod(at+"/a", 0o640), "chtimes": c.Chtimes(at+"/a", when, when),
		"mkdir": c.Mkdir(at + "/d"), "rename": c.Rename(at+"/a", at+"/d/b"), "symlink": c.Symlink("d/b", at+"/l"),
		"posix-rename": c.PosixRename(at+"/l", at+"/m"), "hard link": c.Link(at+"/d/b", at+"/c"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "m")); err != nil || !bytes.Equal(b, content) {
		t.Errorf("it has %d bytes, %v", len(b), err)
	}
	info, err := c.Stat("rpi-3:" + dir + "/m")
	if err != nil || info.Mode().Perm() != 0o640 || !info.ModTime().Equal(when) {
		t.Errorf("%v, %v", info, err)
	}
	if to, err := c.ReadLink(at + "/m"); err != nil || to != "d/b" {
		t.Errorf("%s, %v", to, err)
	}
	back, err := c.Open(at + "/m")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := back.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), content) {
		t.Errorf("%d bytes come back, %v", b.Len(), err)
	}
	back.Close()
	if name, err := c.RealPath(at + "/d/.."); err != nil || name != at {
		t.Errorf("%s, %v", name, err)
	}
	if v, err := c.StatVFS(at); err != nil || v.Bsize == 0 {
		t.Errorf("%v, %v", v, err)
	}
	all, err := c.ReadDir(at)
	if err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if err := c.Remove(at + "/nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	folders := fakeFolders{}
	for i := range 2*page + 1 {
		folders[fmt.Sprintf("n%04d", i)] = host
	}
	c := use(t, folders)
	all, err := c.ReadDir("/")
	if err != nil || len(all) != 2*page+1 || all[0].Name() != "n0000" || !all[0].IsDir() {
		t.Errorf("%d folders, %v", len(all), err)
	}
	if _, err := c.Stat("/n0003/"); err != nil {
		t.Error(err)
	}
	if _, err := c.Stat("/other"); !errors.Is(err, os.ErrNotExist) || !c.wasTold("there is no other") {
		t.Error(err)
	}
	for what, err := range map[string]error{"mkdir": c.Mkdir("/d"), "rmdir": c.RemoveDirectory("/"), "put": second(c.Create("/f"))} {
		if !errors.Is(err, os.ErrPermission) || !c.wasTold("not beside them") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := c.Rename("/n0001/tmp/x", "/n0002/tmp/x"); err == nil || !c.wasTold("different folders") {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// More folders than are connected at once can be looked into, one after the other.
func TestManyFolders(t *testing.T) {
	t.Parallel()
	folders := fakeFolders{}
	for i := range 3 * mostFolders {
		folders[fmt.Sprintf("n%d", i)] = host
	}
	c := use(t, folders)
	for name := range folders {
		if _, err := c.Stat("/" + name + "/etc"); err != nil {
			t.Fatal(err)
		}
	}
	var open []*sftp.File
	for i := range mostFolders {
		f, err := c.Open(fmt.Sprintf("/n%d/etc/passwd", i))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	if _, err := c.Stat(fmt.Sprintf("/n%d/etc", mostFolders)); err == nil || !c.wasTold("close some") {
		t.Error(err)
	}
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Stat(fmt.Sprintf("/n%d/etc", mostFolders)); err != nil {
		t.Error(err)
	}
}

// A client that opens files without an end is refused more, and can go on with those it has.
func TestManyHandles(t *testing.T) {
	t.Parallel()
	c := use(t, fakeFolders{"rpi-3": host})
	var open []*sftp.File
	for range 10 * mostHandles {
		f, err := c.Open("/rpi-3/etc/passwd")
		if err != nil {
			break
		}
		open = append(open, f)
	}
	if len(open) != mostHandles || !c.wasTold("too many files") {
		t.Errorf("%d files are open", len(open))
	}
	if _, err := open[0].Stat(); err != nil {
		t.Error(err)
	}
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := c.Open("/rpi-3/etc/passwd"); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

// packet makes one of its fields: numbers and texts.
func packet(kind byte, id uint32, fields ...any) []byte {
	b := begin(nil, kind, id)
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case string:
			b = wire.AppendText(b, f)
		}
	}
	return end(b)
}
