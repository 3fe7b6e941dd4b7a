package content

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
)

// walkInodes lists what is below a directory: names, numbers and links.
func walkInodes(dir Inode, below string) (all []string) {
	for k := 0; ; k++ {
		name, kid, ok := dir.Entry(k)
		if !ok {
			return all
		}
		all = append(all, fmt.Sprintf("%s%s %d %d", below, name, kid.Number(), kid.Links()))
		if kid.Mode().IsDir() {
			all = append(all, walkInodes(kid, below+name+"/")...)
		}
	}
}

func rootOf(t testing.TB, tree *Tree) Inode {
	t.Helper()
	root, ok := tree.Inode(Root)
	if !ok {
		t.Fatal("a tree without a root")
	}
	return root
}

func TestNumbersFollowTheNames(t *testing.T) {
	t.Parallel()
	below := archive(t, regular("b/z", "1234"), regular("b/gone", ""), symlink("c", "b"), directory("a/sub/empty"),
		regular(strings.Repeat("n", 256), "no name for Linux"))
	above := archive(t, hardlink("a/sub/link", "b/z"), hardlink("d", "b/z"), regular("b/.wh.gone", ""), regular(strings.Repeat("n", 255), ""))
	want := []string{
		"a 2 3", "a/sub 3 3", "a/sub/empty 4 2", "a/sub/link 5 3", "b 6 2", "b/z 5 3", "c 7 1", "d 5 3", strings.Repeat("n", 255) + " 8 1",
	}
	for range 3 { // each time a tree of its own
		tree := files(t, newStore(t), below, above)
		root := rootOf(t, tree)
		if got := walkInodes(root, ""); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if root.Number() != 1 || root.Links() != 4 || root.Parent() != root {
			t.Errorf("the root is %d with %d links", root.Number(), root.Links())
		}
		if files, bytes := tree.Usage(); files != 8 || bytes != 4 {
			t.Errorf("%d files with %d bytes, want 8 with 4", files, bytes)
		}
		for _, none := range []Ino{0, 9, 1<<32 - 1} {
			if _, ok := tree.Inode(none); ok {
				t.Errorf("there is a file with the number %d", none)
			}
		}
	}
}

func TestInodesAreTheFilesOfTheTree(t *testing.T) {
	t.Parallel()
	tree := files(t, newStore(t), zip(t, archive(t, regular("etc/motd", "hello"), symlink("etc/issue", "../motd"), directory("void"))))
	root := rootOf(t, tree)
	etc, _ := root.Lookup("etc")
	motd, ok := etc.Lookup("motd")
	if !ok || etc.Parent() != root {
		t.Fatal("etc/motd is not found")
	}
	if _, ok := motd.Lookup("x"); ok {
		t.Error("something is in a file")
	}
	if _, ok := root.Lookup("none"); ok {
		t.Error("what is not there is found")
	}
	if issue, _ := etc.Lookup("issue"); issue.Mode() != fs.ModeSymlink|0o777 || issue.Target() != "../motd" || issue.Size() != 7 {
		t.Errorf("the link is %v to %q", issue.Mode(), issue.Target())
	}
	for _, c := range []struct {
		off  int64
		size int
		want string
		err  error
	}{
		{0, 5, "hello", nil},
		{0, 9, "hello", io.EOF},
		{3, 9, "lo", io.EOF},
		{1, 2, "el", nil},
		{5, 1, "", io.EOF},
		{1 << 62, 1, "", io.EOF},
		{-1, 1, "", fs.ErrInvalid},
	} {
		p := make([]byte, c.size)
		if n, err := motd.ReadAt(p, c.off); string(p[:n]) != c.want || err != c.err {
			t.Errorf("%d bytes from %d: %q, %v, want %q, %v", c.size, c.off, p[:n], err, c.want, c.err)
		}
	}
	if _, err := etc.ReadAt(make([]byte, 1), 0); err != errNoContent {
		t.Errorf("reading a directory: %v", err)
	}
}

// What runs on an image goes on when the image is removed.
func TestContentStaysReadableWithoutItsName(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	content := bytes.Repeat([]byte("0123456789"), 1000)
	tree := files(t, s, zip(t, archive(t, regular("big", string(content)))), archive(t, regular("cut", "0123456789"), regular("end", "x")))
	big, _ := rootOf(t, tree).Lookup("big")
	got := make([]byte, len(content))
	var wg sync.WaitGroup
	for k := range 10 {
		wg.Go(func() {
			if _, err := big.ReadAt(got[k*1000:(k+1)*1000], int64(k)*1000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(got, content) {
		t.Error("other bytes were read")
	}
	if err := os.RemoveAll(s.derived()); err != nil {
		t.Fatal(err)
	}
	if _, err := big.ReadAt(got[:10], 0); err != nil {
		t.Error(err)
	}
	cut, _ := rootOf(t, tree).Lookup("cut")
	if err := os.Truncate(s.blobPath(tree.layers[1]), cut.node.offset+3); err != nil {
		t.Fatal(err)
	}
	if n, err := cut.ReadAt(got[:10], 0); err != io.ErrUnexpectedEOF {
		t.Errorf("from an archive that was cut: %d, %v", n, err)
	}
}
