package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// files boots a node and opens its files.
func files(t *testing.T) (*ssh.Client, *sftp.Client) {
	t.Helper()
	l := newLab(t, shelf{"one": fstest.MapFS{"etc/issue": {Data: []byte("an issue\n"), Mode: 0o644}, "root": {Mode: fs.ModeDir | 0o700}}})
	node := l.login(t, l.boot(t, "rpi-1"))
	c, err := sftp.NewClient(node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return node, c
}

// on returns what a command on the node writes.
func on(t *testing.T, node *ssh.Client, command string) string {
	t.Helper()
	s, err := node.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Output(command)
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}

// The files of a node over SFTP are those that its shell has.
func TestSFTP(t *testing.T) {
	t.Parallel()
	node, c := files(t)
	if at, err := c.Getwd(); err != nil || at != "/root" {
		t.Errorf("it begins at %s, %v", at, err)
	}
	f, err := c.OpenFile("new", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("0123456789", 2000)
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 30_000); err != nil { // behind a hole
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(20_005), f.Truncate(30_000)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 40_000)
	n, err := f.ReadAt(got, 0)
	if err != io.EOF || string(got[:n]) != content+strings.Repeat("\x00", 10_000) {
		t.Errorf("%d bytes, %v", n, err)
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for what, err := range map[string]error{
		"close": f.Close(), "chmod": c.Chmod("new", 0o4600), "chtimes": c.Chtimes("new", when, when), "mkdir": c.Mkdir("/d"),
		"symlink": c.Symlink("../root/new", "/d/link"), "rename": c.Rename("/root/new", "/root/old"), "posix-rename": c.PosixRename("/root/old", "/root/new"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	info, err := c.Stat("/d/link")
	if err != nil || info.Mode() != 0o600|os.ModeSetuid || !info.ModTime().Equal(when) || info.Size() != 30_000 {
		t.Errorf("%v, %v", info, err)
	}
	if to, err := c.ReadLink("/d/link"); err != nil || to != "../root/new" {
		t.Errorf("%s, %v", to, err)
	}
	if out := on(t, node, "wc -c < /d/link; ls /d; echo of the shell > /root/from"); out != "30000\nlink\n" {
		t.Errorf("%q", out)
	}
	if b := read(t, c, "from"); b != "of the shell\n" {
		t.Errorf("%q", b)
	}
	for what, err := range map[string]error{
		"rename over another": c.Rename("from", "new"), "rmdir of a file": c.RemoveDirectory("from"), "rmdir of what is not empty": c.RemoveDirectory("/d"),
		"mkdir of what is there": c.Mkdir("/d"), "hard link": c.Link("from", "other"), "no such file": c.Remove("/nothing"),
	} {
		if err == nil {
			t.Errorf("%s is done", what)
		}
	}
	if v, err := c.StatVFS("/"); err != nil || v.Bfree == 0 || v.Bfree >= v.Blocks {
		t.Errorf("%v, %v", v, err)
	}
}

func read(t *testing.T, c *sftp.Client, name string) string {
	t.Helper()
	f, err := c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The image stays as it is, and what reads a file of it goes on when that is changed.
func TestSFTPOverImage(t *testing.T) {
	t.Parallel()
	_, c := files(t)
	before, err := c.Open("/etc/issue")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	old := read(t, c, "/etc/issue")
	f, err := c.OpenFile("/etc/issue", os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("more\n")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if now := read(t, c, "/etc/issue"); now != old+"more\n" {
		t.Errorf("%q", now)
	}
	if b, err := io.ReadAll(before); err != nil || string(b) != old {
		t.Errorf("%q, %v", b, err)
	}
}

// What is appended comes behind what was there, also when many pieces of it are on the way at
// once, wherever the client counts from.
func TestSFTPAppends(t *testing.T) {
	t.Parallel()
	_, c := files(t)
	more := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	for i := 0; i < len(more); i += 1000 { // so that no two pieces are alike
		copy(more[i:], fmt.Sprintf("%8d", i))
	}
	for what, from := range map[string]int64{"the beginning of the file": 500_000, "its end": 0} {
		name := "/" + what
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		f, err := c.Create(name)
		ok(err)
		_, err = f.Write(more[:500_000])
		ok(errors.Join(err, f.Close()))
		f, err = c.OpenFile(name, os.O_WRONLY|os.O_APPEND)
		ok(err)
		_, err = f.WriteAt(more[:1], from) // the others after that
		ok(err)
		_, err = f.Seek(from, io.SeekStart)
		ok(err)
		_, err = f.ReadFromWithConcurrency(bytes.NewReader(more), 64)
		ok(errors.Join(err, f.Close()))
		if got := read(t, c, name); got != string(more[:500_000])+string(more) {
			t.Errorf("counted from %s: %d bytes, which are others", what, len(got))
		}
	}
}

// A disk that is full can be looked at, and made empty.
func TestSFTPFullDisk(t *testing.T) {
	t.Parallel()
	_, c := files(t)
	f, err := c.Create("/big")
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(diskSize); size >= 1; { // until nothing more goes in
		if info, _ := f.Stat(); f.Truncate(info.Size()+size) != nil {
			size /= 2
		}
	}
	f.Close()
	dirs := 0
	for c.Mkdir(fmt.Sprint("/", dirs)) == nil {
		dirs++
	}
	all, err := c.ReadDir("/")
	if err != nil || len(all) != dirs+3 {
		t.Errorf("%v, %v", all, err)
	}
	if err := errors.Join(c.Remove("/big"), c.Mkdir("/more")); err != nil {
		t.Error(err)
	}
}

// What a client has open, and what it writes, is bounded.
func TestSFTPLimits(t *testing.T) {
	t.Parallel()
	_, c := files(t)
	var open []*sftp.File
	for range 2 * filesLimit {
		f, err := c.Open("/etc/issue")
		if err != nil {
			break
		}
		open = append(open, f)
	}
	if len(open) != filesLimit {
		t.Errorf("%d files are open", len(open))
	}
	for _, f := range open {
		f.Close()
	}
	f, err := c.Create("/big")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err == nil {
		t.Error("a file has a terabyte")
	}
	if _, err := f.WriteAt([]byte("x"), 1<<62); err == nil {
		t.Error("a file is huge")
	}
	null, err := c.OpenFile("/dev/null", os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := null.WriteAt([]byte("x"), 1<<62); err != nil {
		t.Error(err)
	}
}
