package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pkg/sftp"

	"walt/fault"
)

// Copied is what was copied.
type Copied struct {
	Files   int
	Bytes   int64
	Skipped []string // what is neither a file nor a directory nor a link
}

// String says it in words for users.
func (c Copied) String() string {
	what := fmt.Sprintf("%d files, %d bytes", c.Files, c.Bytes)
	if c.Files == 1 {
		what = fmt.Sprintf("1 file, %d bytes", c.Bytes)
	}
	if len(c.Skipped) > 0 {
		what += fmt.Sprintf(", without %s, which are neither files nor directories", strings.Join(c.Skipped, ", "))
	}
	return what
}

const (
	// deepest is how many directories in one another are copied.
	deepest = 200
	// mostListed is how much memory, in bytes, the lists of the directories take that are being
	// copied, one in another: some 250,000 names.
	mostListed = 64 << 20
)

// Copy copies a file from one folder to another, as cp does: into a directory, or to another name. With
// all of it a directory is copied, too. The paths are those that clients of Serve use. What was
// copied before an error stays.
func Copy(ctx context.Context, folders Folders, from, to string, all bool) (Copied, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, theirs := net.Pipe()
	c := copier{ctx: ctx, all: all}
	session := newSession(ctx, folders, ours, c.tell)
	session.listed = &c.listed
	served := make(chan struct{})
	go func() { // ends with the pipe, which the end of this function closes
		defer close(served)
		_ = session.run(ours)
		ours.Close()
	}()
	defer func() {
		theirs.Close()
		<-served
	}()
	defer context.AfterFunc(ctx, func() { theirs.Close() })()
	var err error
	if c.Client, err = sftp.NewClientPipe(theirs, theirs, sftp.UseConcurrentReads(true)); err != nil {
		return Copied{}, c.because(err)
	}
	defer c.Close()
	return c.done, c.because(c.into(from, to))
}

// copier copies as a client of a session.
type copier struct {
	*sftp.Client
	ctx  context.Context
	all  bool
	done Copied
	// within is that both paths are in one folder.
	within bool
	// listed is how much memory lists take, in bytes: the session counts what comes.
	listed atomic.Int64

	mu   sync.Mutex
	told error // what the session told last
}

func (c *copier) tell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = err
}

// because is an error in words for users: the session's own, if it told some.
func (c *copier) because(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil || fault.As(err) != nil:
		return err
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case c.told != nil:
		return c.told
	}
	return fault.Failedf("the copy failed: %v", err)
}

// fail says what could not be done with a file.
func (c *copier) fail(what, name string, err error) error {
	if c.because(err) == c.told || c.ctx.Err() != nil {
		return err
	}
	why := err.Error()
	var s *sftp.StatusError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		why = "permission denied"
	case errors.As(err, &s):
		why = printable([]byte(strings.TrimPrefix(err.Error(), "sftp: ")), 200)
	}
	return fault.Failedf("cannot %s %.200q: %s", what, name, why)
}

func (c *copier) into(from, to string) error {
	one, _, _ := strings.Cut(from, ":")
	other, _, _ := strings.Cut(to, ":")
	c.within = one == other
	info, err := c.Stat(from)
	switch {
	case err != nil:
		return c.fail("look at", from, err)
	case info.IsDir() && !c.all:
		return fault.Failedf("%q is a directory", from).WithHint("copy all that is in it with -r")
	}
	there, err := c.Stat(to)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || c.told != nil) {
		return c.fail("look at", to, err)
	}
	if err == nil && there.IsDir() {
		base := path.Base(path.Clean("/" + from[strings.IndexByte(from, ':')+1:]))
		if base == "/" { // all that is in it goes there, also if that is a link
			base = "."
		}
		to = strings.TrimSuffix(to, "/") + "/" + base
	}
	switch mode := info.Mode(); {
	case c.same(from, to): // which would be empty before it is read
		return fault.Failedf("%q and %q are the same", from, to)
	case !mode.IsDir() && !mode.IsRegular():
		return fault.Failedf("%q is neither a file nor a directory", from)
	}
	return c.copy(from, to, info, 0)
}

// same reports whether two paths lead to the same place, as far as their server says it: those
// that know links tell where these lead.
func (c *copier) same(one, other string) bool {
	a, err := c.RealPath(one)
	if err != nil {
		return false
	}
	b, err := c.RealPath(other)
	return err == nil && a == b
}

// copy copies what has a name, whatever it is.
func (c *copier) copy(from, to string, info fs.FileInfo, depth int) error {
	switch mode := info.Mode(); {
	case depth > deepest:
		return fault.Failedf("%.200q is in too many directories", from)
	case mode.IsDir():
		return c.directory(from, to, info, depth)
	case mode&fs.ModeSymlink != 0:
		target, err := c.ReadLink(from)
		if err != nil {
			return c.fail("read", from, err)
		}
		if err := c.Symlink(target, to); err != nil {
			return c.fail("make", to, err)
		}
		c.done.Files++
		return nil
	case mode.IsRegular():
		return c.file(from, to, info, depth)
	case len(c.done.Skipped) < 100:
		c.done.Skipped = append(c.done.Skipped, from)
	}
	return nil
}

func (c *copier) directory(from, to string, info fs.FileInfo, depth int) error {
	defer c.listed.Store(c.listed.Load()) // until all of it is copied
	kids, err := c.ReadDir(from)
	if err != nil {
		return c.fail("read", from, err)
	}
	if err := c.Mkdir(to); err == nil {
		if err := c.Chmod(to, info.Mode().Perm()|0o700); err != nil { // so that its files can be made
			return c.fail("change", to, err)
		}
	} else if there, missing := c.Lstat(to); missing != nil || !there.IsDir() {
		return c.fail("make", to, err)
	}
	for _, kid := range kids {
		if err := c.copy(from+"/"+kid.Name(), to+"/"+kid.Name(), kid, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is how many requests one file is written with at a time.
const atOnce = 16

// file copies a file. One of a directory that is copied is written through no link: who has the
// node that is copied from says what files are called, and would say by links of earlier ones
// where they are written, outside of what was named.
func (c *copier) file(from, to string, info fs.FileInfo, depth int) error {
	in, err := c.Open(from)
	if err != nil {
		return c.fail("open", from, err)
	}
	defer in.Close()
	look := c.Stat
	if depth > 0 {
		look = c.Lstat
	}
	there, missing := look(to)
	if missing == nil && there.Mode()&fs.ModeSymlink != 0 {
		if err := c.Remove(to); err != nil {
			return c.fail("replace", to, err)
		}
		missing = fs.ErrNotExist
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if c.within { // it may be the same file, by a link
		flags &^= os.O_TRUNC
	}
	out, err := c.OpenFile(to, flags)
	if err != nil {
		return c.fail("write", to, err)
	}
	r, w := io.Pipe()
	go func() { // ends when all is read, or nobody reads any more
		_, err := in.WriteTo(w)
		w.CloseWithError(err)
	}()
	n, err := out.ReadFromWithConcurrency(r, atOnce)
	r.CloseWithError(io.ErrClosedPipe)
	if err == nil && c.within && missing == nil && there.Size() > n {
		err = out.Truncate(n)
	}
	if err == nil && errors.Is(missing, fs.ErrNotExist) {
		err = out.Chmod(info.Mode().Perm())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return c.fail("write", to, err)
	}
	c.done.Files++
	c.done.Bytes += n
	return nil
}
