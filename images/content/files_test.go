package content

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
)

// names lists the paths of a tree, directories with a final slash.
func names(t testing.TB, tree *Tree) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			p += "/"
		}
		all = append(all, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}

func wantNames(t testing.TB, tree *Tree, want ...string) {
	t.Helper()
	if got := names(t, tree); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func wantContent(t testing.TB, tree *Tree, name, want string) {
	t.Helper()
	if got, err := tree.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", name, got, err, want)
	}
}

func TestFilesAreAFileSystem(t *testing.T) {
	t.Parallel()
	tree := files(t, newStore(t),
		archive(t, directory("etc/"), regular("etc/motd", "hello"), regular("etc/empty", ""), symlink("etc/issue", "motd"),
			hardlink("etc/also", "etc/motd"), symlink("lib", "/usr/lib"), directory("usr/lib"),
			regular("usr/lib/libc.so", strings.Repeat("x", 70_000)), directory("void")),
		archive(t, regular("deep/er/and/deeper", "implied"), regular(".wh.void", "")))
	if err := fstest.TestFS(tree, "etc/motd", "etc/also", "etc/empty", "usr/lib/libc.so", "deep/er/and/deeper"); err != nil {
		t.Error(err)
	}
}

func TestFilesOfEveryCompression(t *testing.T) {
	t.Parallel()
	plain := archive(t, regular("plain", "1"))
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(archive(t, regular("zstd", "2")))
	w.Close()
	l := newStore(t)
	tree := files(t, l, plain, packed.Bytes(), zip(t, archive(t, regular("gzip", "3"))), nil)
	wantContent(t, tree, "plain", "1")
	wantContent(t, tree, "zstd", "2")
	wantContent(t, tree, "gzip", "3")
	if all, _ := os.ReadDir(filepath.Join(l.dir, "derived")); len(all) != 2 {
		t.Errorf("%d layers were unpacked, want those 2 that are packed", len(all))
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long/", 60) + strings.Repeat("n", 200)
	odd := regular("bin/su", "setuid")
	odd.Mode, odd.Uid, odd.Gid, odd.ModTime = 0o104755, 1000, 3_000_000, created.Add(1500)
	odd.Format = tar.FormatPAX
	gnu := regular(long, "gnu")
	gnu.Format = tar.FormatGNU
	pax := regular("é/"+long, "pax")
	pax.Format = tar.FormatPAX
	tmp := directory("tmp")
	tmp.Mode = 0o1777
	tree := files(t, newStore(t), archive(t, odd, gnu, pax, tmp, symlink("far", "/"+long),
		&tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		&tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda", Mode: 0o660, Devmajor: 8},
		&tar.Header{Typeflag: tar.TypeFifo, Name: "run/fifo", Mode: 0o600}))

	wantContent(t, tree, long, "gnu")
	wantContent(t, tree, "é/"+long, "pax")
	wantContent(t, tree, "far", "gnu")
	for name, mode := range map[string]fs.FileMode{
		"bin/su":   0o755 | fs.ModeSetuid,
		"tmp":      0o777 | fs.ModeDir | fs.ModeSticky,
		"far":      0o777 | fs.ModeSymlink,
		"dev":      0o755 | fs.ModeDir,
		"dev/null": 0o666 | fs.ModeDevice | fs.ModeCharDevice,
		"dev/sda":  0o660 | fs.ModeDevice,
		"run/fifo": 0o600 | fs.ModeNamedPipe,
	} {
		if i, err := tree.Lstat(name); err != nil || i.Mode() != mode {
			t.Errorf("%s: mode %v, %v, want %v", name, i.Mode(), err, mode)
		}
	}
	i, err := tree.Stat("bin/su")
	if err != nil {
		t.Fatal(err)
	}
	if attr := i.Sys().(Attr); attr.UID != 1000 || attr.GID != 3_000_000 || !i.ModTime().Equal(odd.ModTime) || i.Size() != 6 {
		t.Errorf("got %+v, %v, %d", attr, i.ModTime(), i.Size())
	}
	i, err = tree.Stat("dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if attr := i.Sys().(Attr); attr.Major != 1 || attr.Minor != 3 {
		t.Errorf("got %+v", attr)
	}
	for _, name := range []string{"dev/null", "run/fifo"} {
		if _, err := tree.ReadFile(name); !errors.Is(err, errNoContent) {
			t.Errorf("reading %s: %v", name, err)
		}
	}
	if _, err := tree.ReadFile("tmp"); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("reading a directory: %v", err)
	}
}

func TestWhiteouts(t *testing.T) {
	t.Parallel()
	below := archive(t, regular("a/one", "1"), regular("a/two", "2"), regular("b/x/one", "1"), regular("b/two", "2"), regular("c/one", "1"))
	for name, test := range map[string]struct {
		entries []*tar.Header
		want    []string
	}{
		"a file":                    {[]*tar.Header{regular("a/.wh.one", "")}, []string{"a/", "a/two", "b/", "b/two", "b/x/", "b/x/one", "c/", "c/one"}},
		"a directory":               {[]*tar.Header{regular(".wh.b", "")}, []string{"a/", "a/one", "a/two", "c/", "c/one"}},
		"nothing":                   {[]*tar.Header{regular("no/where/.wh.b", ""), regular("a/.wh.three", ""), regular("a/one/.wh.x", "")}, []string{"a/", "a/one", "a/two", "b/", "b/two", "b/x/", "b/x/one", "c/", "c/one"}},
		"opaque":                    {[]*tar.Header{directory("b"), regular("b/.wh..wh..opq", ""), regular("b/new", "")}, []string{"a/", "a/one", "a/two", "b/", "b/new", "c/", "c/one"}},
		"opaque after its files":    {[]*tar.Header{regular("b/new", ""), regular("b/.wh..wh..opq", "")}, []string{"a/", "a/one", "a/two", "b/", "b/new", "c/", "c/one"}},
		"opaque root":               {[]*tar.Header{regular(".wh..wh..opq", ""), regular("z", "")}, []string{"z"}},
		"a file of the same layer":  {[]*tar.Header{regular("b/x/new", ""), regular(".wh.b", "")}, []string{"a/", "a/one", "a/two", "b/", "b/x/", "b/x/new", "c/", "c/one"}},
		"notes of AUFS are nothing": {[]*tar.Header{regular(".wh..wh.plnk", ""), directory(".wh..wh.orph"), regular("c/.wh..wh.aufs", "")}, []string{"a/", "a/one", "a/two", "b/", "b/two", "b/x/", "b/x/one", "c/", "c/one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantNames(t, files(t, newStore(t), below, archive(t, test.entries...)), test.want...)
		})
	}
}

func TestReplacing(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	first := archive(t, regular("x", "file"), regular("d/keep", "k"), symlink("s", "d"))
	second := archive(t, regular("x/y", "inside"), directory("d"), regular("s/through", "t"))
	third := archive(t, regular("x", "file again"), regular("d", "file"), directory("s"))

	tree := files(t, l, first, second)
	wantNames(t, tree, "d/", "d/keep", "d/through", "s", "x/", "x/y")
	wantContent(t, tree, "s/through", "t")

	tree = files(t, l, first, second, third)
	wantNames(t, tree, "d", "s/", "x")
	wantContent(t, tree, "x", "file again")

	tree = files(t, l, first, second, third, second)
	wantNames(t, tree, "d/", "s/", "s/through", "x/", "x/y")
}

func TestHardLinks(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	first := archive(t, regular("a", "one"), hardlink("b", "a"), hardlink("./c/d", "/a"), symlink("s", "a"), hardlink("t", "s"))
	tree := files(t, l, first, archive(t, regular("a", "two"), hardlink("e", "b")))
	wantContent(t, tree, "a", "two")
	for _, name := range []string{"b", "c/d", "e"} {
		wantContent(t, tree, name, "one")
	}
	if target, err := tree.ReadLink("t"); err != nil || target != "a" {
		t.Errorf("the hard link to a symbolic link leads to %q, %v", target, err)
	}
	for _, bad := range [][]*tar.Header{{hardlink("b", "missing")}, {directory("d"), hardlink("b", "d")}, {hardlink("b", "..")}} {
		_, err := l.Tree(t.Context(), keep(t, l, archive(t, bad...)))
		wantFault(t, err, "hard link", "cannot be read")
	}
}

func TestSymbolicLinksStayInside(t *testing.T) {
	t.Parallel()
	tree := files(t, newStore(t), archive(t, regular("etc/passwd", "of the image"), regular("top", "top"),
		symlink("up", "../../../../etc/passwd"), symlink("abs", "/etc/passwd"), symlink("etc/dir", ".."), symlink("a/b/c", "../../etc/./passwd"),
		symlink("l1", "l2"), symlink("l2", "l1"), symlink("self/self", "self"), symlink("gone", "missing/x"), symlink("filedir", "top/x")))
	for _, name := range []string{"up", "abs", "a/b/c", "etc/dir/etc/passwd", "etc/dir/etc/dir/up"} {
		wantContent(t, tree, name, "of the image")
	}
	for name, want := range map[string]error{
		"l1": syscall.ELOOP, "self/self/x": syscall.ELOOP, "gone": fs.ErrNotExist, "filedir": syscall.ENOTDIR, "top/x": syscall.ENOTDIR, "missing": fs.ErrNotExist,
		"../etc/passwd": fs.ErrInvalid, "/etc/passwd": fs.ErrInvalid,
	} {
		if _, err := tree.Open(name); !errors.Is(err, want) {
			t.Errorf("open %s: %v, want %v", name, err, want)
		}
	}
	if i, err := tree.Lstat("gone"); err != nil || i.Mode().Type() != fs.ModeSymlink {
		t.Errorf("lstat: %v, %v", i, err)
	}
	if _, err := tree.ReadDir("abs"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("readdir of a file: %v", err)
	}
	if _, err := tree.ReadLink("top"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("readlink of a file: %v", err)
	}
}

func TestHostileNamesStayInside(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	tree := files(t, l, archive(t, regular("../../../escape", "1"), regular("/abs/olute", "2"), regular("a/../../b", "3"),
		symlink("out", "/../../tmp"), regular("out/through", "4"), directory("."), directory("./../.."), hardlink("h", "../../../escape")))
	wantNames(t, tree, "abs/", "abs/olute", "b", "escape", "h", "out", "tmp/", "tmp/through")
	for _, p := range []string{"escape", "b", "through"} {
		if _, err := os.Lstat(filepath.Join(l.dir, "..", p)); err == nil {
			t.Errorf("%s was made on the server", p)
		}
	}
}

func TestLayersThatAreNone(t *testing.T) {
	t.Parallel()
	good := archive(t, regular("a", strings.Repeat("data", 1000)))
	for name, layer := range map[string][]byte{
		"text":             bytes.Repeat([]byte("this is no archive\n"), 100),
		"cut":              good[:2000],
		"cut gzip":         zip(t, good)[:40],
		"gzip of text":     zip(t, bytes.Repeat([]byte("text"), 1000)),
		"zstd of nothing":  append(slices.Clone(zstdMagic), "rubbish"...),
		"more than gzip":   append(zip(t, good), "\x00rubbish"...),
		"unknown type":     archive(t, &tar.Header{Typeflag: 'Z', Name: "z"}),
		"symlink to none":  archive(t, symlink("s", "")),
		"too long a name":  archive(t, regular(strings.Repeat("x/", 3000)+"y", "")),
		"too deep":         archive(t, regular(strings.Repeat("x/", 1200)+"y", "")),
		"a loop on top":    archive(t, symlink("l", "l"), regular("l/x", "")),
		"a file as root":   archive(t, symlink("/..", "x")),
		"a link to itself": archive(t, hardlink("x", "x")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newStore(t)
			_, err := l.Tree(t.Context(), keep(t, l, layer))
			wantFault(t, err, "the layer sha256:", "cannot be read")
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("%v was left", left)
			}
		})
	}
}

func TestFilesOfWhatIsNotHere(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	_, err := l.Tree(t.Context(), Digest("sha256:"+strings.Repeat("0", 64)))
	wantFault(t, err, "sha256:0000", "not on this server")
	layer := archive(t, regular("a", "1"))
	digest := keep(t, l, layer)
	all, _ := os.ReadDir(filepath.Join(l.dir, "blobs", "sha256"))
	for _, e := range all {
		if digest.Hex() != e.Name() {
			os.Remove(filepath.Join(l.dir, "blobs", "sha256", e.Name()))
		}
	}
	_, err = l.Tree(t.Context(), digest)
	wantFault(t, err, "the layer", "not on this server")
}

func TestUnpackedLayersAreMadeAgain(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	tree := files(t, l, zip(t, archive(t, regular("a", "still here"))))
	derived := filepath.Join(l.dir, "derived")
	if err := os.RemoveAll(derived); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(derived, 0o700); err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "a", "still here")
}

func TestOpenFilesSeekAndReadAt(t *testing.T) {
	t.Parallel()
	tree := files(t, newStore(t), archive(t, regular("before", "xxx"), regular("a", "0123456789"), regular("after", "yyy")))
	f, err := tree.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.(io.Seeker).Seek(-3, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); string(b) != "789" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	b := make([]byte, 20)
	if n, err := f.(io.ReaderAt).ReadAt(b, 4); string(b[:n]) != "456789" || err != io.EOF {
		t.Errorf("got %q, %v", b[:n], err)
	}
	if i, err := f.Stat(); err != nil || i.Size() != 10 || i.Name() != "a" {
		t.Errorf("got %v, %v", i, err)
	}
}

func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	digest := keep(t, l, archive(t, regular("a/b/c/d", "")))
	tree, err := l.Tree(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	left := budget(3 * nodeCost)
	again := &Tree{store: tree.store, root: newDir(), layers: tree.layers}
	if err := again.add(t.Context(), 0, &left); err == nil || !strings.Contains(err.Error(), "too many files") {
		t.Errorf("got %v", err)
	}
}

// A sparse file is read as it was packed, whichever way GNU tar wrote its map.
func TestSparseFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(40) { // more parts than a header has room for
		if _, err := f.WriteAt([]byte{byte('a' + i%26), 'x'}, i*64<<10+7); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(4<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "after"), []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("n", 150)
	if err := os.Link(f.Name(), filepath.Join(dir, long)); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]string{
		"gnu": {"--format=gnu"},
		"0.0": {"--format=pax", "--sparse-version=0.0"}, "0.1": {"--format=pax", "--sparse-version=0.1"}, "1.0": {"--format=pax", "--sparse-version=1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packed, err := exec.Command("tar", append(options, "--hard-dereference", "-cS", "-C", dir, "holes", long, "after")...).Output()
			if err != nil {
				t.Skipf("GNU tar is needed: %v", err)
			}
			if len(packed) > 1<<20 {
				t.Fatalf("the file is not packed as a sparse one: %d bytes", len(packed))
			}
			s := newStore(t)
			tree := files(t, s, packed)
			for _, n := range []string{"holes", long} {
				if got, err := tree.ReadFile(n); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v, want %d", n, len(got), err, len(want))
				}
			}
			wantContent(t, tree, "after", "after")
			at := make([]byte, 3)
			o, err := tree.Open("holes")
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			if _, err := o.(io.ReaderAt).ReadAt(at, 64<<10+6); err != nil || string(at) != "\x00bx" {
				t.Errorf("got %q, %v", at, err)
			}
			node, _ := rootOf(t, tree).Lookup("holes")
			if got, err := io.ReadAll(io.NewSectionReader(node, 0, 1<<40)); err != nil || !bytes.Equal(got, want) || node.Stored() >= 1<<20 {
				t.Errorf("by its number: %d bytes of %d stored, %v", len(got), node.Stored(), err)
			}
			if _, err := s.Tree(t.Context(), keep(t, s, packed[:2000])); err == nil {
				t.Error("a cut one is accepted")
			}
		})
	}
}

// What builders do and tar, gzip and zstd take is taken here too.
func TestOddButGoodLayers(t *testing.T) {
	t.Parallel()
	plain := archive(t, hardlink("first", "second"), hardlink("second", "third"), regular("third", "the file"), regular("a", "1"))
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(plain)
	w.Close()
	for name, layer := range map[string][]byte{
		"links to files further on": plain,
		"zeros after gzip":          append(zip(t, plain), make([]byte, 5000)...),
		"two parts of gzip":         append(zip(t, plain[:700]), append(zip(t, plain[700:]), 0)...),
		"zstd after what is none":   append([]byte{0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}, z.Bytes()...),
		"rubbish after the end":     append(slices.Clone(plain), "rubbish"...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := files(t, newStore(t), layer)
			wantContent(t, tree, "first", "the file")
			wantContent(t, tree, "a", "1")
		})
	}
}
