//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/reach/files/wire"
)

// newFiles is a client of the agent's files, and a directory for it.
func newFiles(t *testing.T) (c *sftp.Client, dir string) {
	t.Helper()
	requests, ask := io.Pipe()
	answers, answer := io.Pipe()
	done := make(chan error)
	go func() { // ends when the client closes its end
		done <- newFileServer(requests, answer).serve()
		answer.Close()
	}()
	c, err := sftp.NewClientPipe(answers, ask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ask.Close()
		if err := <-done; err != nil {
			t.Errorf("it ended with: %v", err)
		}
		c.Close()
	})
	return c, t.TempDir()
}

// What a client of SFTP does with the files of a machine is done there.
func TestFiles(t *testing.T) {
	t.Parallel()
	c, dir := newFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	f, err := c.OpenFile(at("a"), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(content)+1)
	if n, err := f.ReadAt(got, 0); err != io.EOF || !bytes.Equal(got[:n], content) {
		t.Errorf("%d bytes, %v", n, err)
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, step := range []struct {
		what string
		err  error
	}{
		{"mkdir", c.Mkdir(at("d"))},
		{"rename", c.Rename(at("a"), at("d/b"))},
		{"chmod of what was renamed", f.Chmod(0o4640)},
		{"truncate", f.Truncate(7)},
		{"fsync", f.Sync()},
		{"close", f.Close()},
		{"chtimes", c.Chtimes(at("d/b"), when, when)},
		{"hard link", c.Link(at("d/b"), at("d/hard"))},
		{"link", c.Symlink("../d/hard", at("d/soft"))},
		{"posix-rename", c.PosixRename(at("d/b"), at("d/c"))},
	} {
		if step.err != nil {
			t.Errorf("%s: %v", step.what, step.err)
		}
	}
	info, err := os.Stat(at("d/soft"))
	if err != nil || info.Mode() != 0o640|os.ModeSetuid || info.Size() != 7 || !info.ModTime().Equal(when) {
		t.Errorf("%v, %v", info, err)
	}
	there, err := c.Stat(at("d/c"))
	if err != nil || there.Mode() != info.Mode() || there.Size() != 7 || !there.ModTime().Equal(when) {
		t.Errorf("%v, %v", there, err)
	}
	if link, err := c.Lstat(at("d/soft")); err != nil || link.Mode().Type() != os.ModeSymlink {
		t.Errorf("%v, %v", link, err)
	}
	if to, err := c.ReadLink(at("d/soft")); err != nil || to != "../d/hard" {
		t.Errorf("%s, %v", to, err)
	}
	if to, err := c.RealPath(at("d/soft")); err != nil || to != at("d/hard") {
		t.Errorf("%s, %v", to, err)
	}
	if to, err := c.RealPath(at("not/there/../yet")); err != nil || to != at("not/yet") {
		t.Errorf("%s, %v", to, err)
	}
	var st unix.Statfs_t
	if vfs, err := c.StatVFS(dir); err != nil || unix.Statfs(dir, &st) != nil || vfs.Blocks != st.Blocks || vfs.Namemax != uint64(st.Namelen) {
		t.Errorf("%+v, %v", vfs, err)
	}
	for what, c := range map[string]struct{ err, want error }{
		"not there":                {second(c.Stat(at("gone"))), os.ErrNotExist},
		"onto what is there":       {c.Rename(at("d/c"), at("d/hard")), unix.EEXIST},
		"a file below a file":      {c.Mkdir(at("d/c/d")), os.ErrNotExist},
		"a file as a directory":    {second(c.ReadDir(at("d/c"))), os.ErrNotExist},
		"a directory as a file":    {c.RemoveDirectory(at("d/c")), os.ErrNotExist},
		"exclusively what is":      {second(c.OpenFile(at("d/c"), os.O_WRONLY|os.O_CREATE|os.O_EXCL)), unix.EEXIST},
		"a directory that is full": {c.RemoveDirectory(at("d")), unix.ENOTEMPTY},
	} {
		if c.err == nil || !errors.Is(c.err, c.want) && !strings.Contains(c.err.Error(), c.want.Error()) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	for _, name := range []string{"d/soft", "d/hard", "d/c"} {
		if err := c.Remove(at(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.RemoveDirectory(at("d")); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is still %v, %v", left, err)
	}
}

func second[T any](_ T, err error) error { return err }

// A list has all files of a directory, also of one that takes several answers.
func TestListOfFiles(t *testing.T) {
	t.Parallel()
	c, dir := newFiles(t)
	var want []string
	for i := range 3*mostListed + 1 {
		name := strconv.Itoa(1000 + i)
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, info := range all {
		got = append(got, info.Name())
		if i, err := strconv.Atoi(info.Name()); err != nil || info.Size() != int64(i-1000) || info.Mode() != 0o600 {
			t.Errorf("%s has %d bytes, %v", info.Name(), info.Size(), info.Mode())
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the files are %q", got)
	}
}

// A file that is opened for appending grows at its end, wherever the client says, as that of
// "curl --append" does, and whoever else writes there.
func TestAppendToFile(t *testing.T) {
	t.Parallel()
	c, dir := newFiles(t)
	name := filepath.Join(dir, "log")
	if err := os.WriteFile(name, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := c.OpenFile(name, os.O_RDWR|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("two\n"), 0); err != nil {
		t.Error(err)
	}
	other, err := c.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("three\n")); err != nil {
		t.Error(err)
	}
	if _, err := f.WriteAt([]byte("four\n"), 1); err != nil {
		t.Error(err)
	}
	const want = "one\ntwo\nthree\nfour\n"
	if b, err := os.ReadFile(name); err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	got := make([]byte, 100)
	if n, err := f.ReadAt(got, 4); err != io.EOF || string(got[:n]) != want[4:] {
		t.Errorf("%q, %v", got[:n], err)
	}
}

// What is synchronised is, or the client is told that it is not.
func TestFsync(t *testing.T) {
	t.Parallel()
	c, _ := newFiles(t)
	f, err := c.OpenFile("/dev/null", os.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err == nil {
		t.Error("what cannot be synchronised was")
	}
}

// What is no file, and may have nothing to say for ever, holds up nobody.
func TestPipes(t *testing.T) {
	t.Parallel()
	c, dir := newFiles(t)
	name := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := c.OpenFile(name, os.O_WRONLY); err == nil {
		t.Error("a pipe that nobody reads was opened to write")
		f.Close()
	}
	f, err := c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.ReadAt(make([]byte, 1), 0); err == nil {
		t.Errorf("%d bytes of a pipe", n)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// A part of a file is copied into another one, and no file onto itself.
func TestCopyData(t *testing.T) {
	t.Parallel()
	s := newFileServer(strings.NewReader(""), io.Discard)
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := errors.Join(os.WriteFile(from, []byte("0123456789"), 0o600), os.WriteFile(to, []byte("abcdefghij"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{from, to, from} { // the handles 1, 2 and 3
		if _, err := s.hold(1, name, os.O_RDWR, 0); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, f := range s.open {
			f.Close()
		}
	}()
	for _, c := range []struct {
		from, to           string
		offset, length, at uint64
		err                error
		want               string
	}{
		{"1", "2", 2, 3, 4, nil, "abcd234hij"},
		{"1", "2", 8, 0, 0, nil, "89cd234hij"},
		{"1", "2", 8, 9, 9, io.EOF, "89cd234hi89"},
		{"1", "1", 0, 0, 10, unix.EINVAL, "89cd234hi89"},
		{"1", "3", 0, 0, 10, unix.EINVAL, "89cd234hi89"},
		{"1", "4", 0, 0, 0, errNoHandle, "89cd234hi89"},
	} {
		_, err := s.extended("copy-data", 1, ssh.Marshal(struct {
			From           string
			Offset, Length uint64
			To             string
			At             uint64
		}{c.from, c.offset, c.length, c.to, c.at}))
		if !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c, err)
		}
		if b, err := os.ReadFile(to); err != nil || string(b) != c.want {
			t.Errorf("%+v: %q, %v", c, b, err)
		}
	}
	if b, err := os.ReadFile(from); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
}

// Attributes of a link are its own where it has any.
func TestAttributesOfALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	s := newFileServer(strings.NewReader(""), io.Discard)
	set := func(flags uint32, numbers ...uint32) error {
		rest := ssh.Marshal(struct{ Path string }{link})
		for _, n := range append([]uint32{flags}, numbers...) {
			rest = binary.BigEndian.AppendUint32(rest, n)
		}
		_, err := s.extended("lsetstat@openssh.com", 1, rest)
		return err
	}
	if err := set(wire.HasTimes, 100, 200); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(link); err != nil || info.ModTime().Unix() != 200 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(file); err != nil || info.ModTime().Unix() == 200 {
		t.Errorf("the file of the link: %v, %v", info, err)
	}
	if err := set(wire.HasMode, 0o777); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("permissions of a link: %v", err)
	}
	link = file
	if err := set(wire.HasMode, 0o640); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

// Requests that are none are answered so, and those that are no packets end the session.
func TestMalformedFiles(t *testing.T) {
	s := newFileServer(strings.NewReader(""), io.Discard)
	path := ssh.Marshal(struct{ Path string }{"/nowhere"})
	for what, c := range map[string]struct {
		kind   uint8
		fields []byte
		code   byte
	}{
		"no fields":                    {wire.Open, nil, 5},
		"a length beyond the packet":   {wire.Stat, []byte{0xff, 0xff, 0xff, 0xff, 'a'}, 5},
		"no flags":                     {wire.Open, path, 5},
		"no attributes":                {wire.Setstat, path, 5},
		"attributes that are not all":  {wire.Setstat, append(slices.Clone(path), 0, 0, 0, 8, 0, 0), 5},
		"neither to read nor to write": {wire.Open, append(slices.Clone(path), 0, 0, 0, 4, 0, 0, 0, 0), 5},
		"one path in place of two":     {wire.Rename, path, 5},
		"a handle that is none":        {wire.Read, ssh.Marshal(struct{ Handle string }{"7"}), 4},
		"a type that is none":          {99, path, 8},
		"an extension that is none":    {wire.Extended, ssh.Marshal(struct{ Name, Path string }{"x@y", "z"}), 8},
	} {
		// behind the type and the id
		if b := s.answer(c.kind, 7, c.fields); len(b) < 9 || b[0] != 101 || b[4] != 7 || b[8] != c.code {
			t.Errorf("%s: %v", what, b)
		}
	}
	for _, packet := range []string{"\x00\x00\x00\x04abcd", "\xff\xff\xff\xffabcd", "\x00\x00\x00\x09abcd"} {
		if err := newFileServer(strings.NewReader(packet), io.Discard).serve(); err == nil {
			t.Errorf("%q is a packet", packet)
		}
	}
}

// Lists for people look as "ls -l" has them.
func TestLetters(t *testing.T) {
	for mode, want := range map[uint32]string{
		unix.S_IFREG | 0o644: "-rw-r--r--", unix.S_IFDIR | 0o1777: "drwxrwxrwt", unix.S_IFLNK | 0o777: "lrwxrwxrwx",
		unix.S_IFREG | 0o6755: "-rwsr-sr-x", unix.S_IFREG | 0o7000: "---S--S--T", unix.S_IFCHR | 0o600: "crw-------",
	} {
		if got := letters(mode); got != want {
			t.Errorf("%o is %s, want %s", mode, got, want)
		}
	}
}
