package content

import (
	"archive/tar"
	"slices"
	"testing"
)

// A part of a tree has what is asked for, wherever its links lead, and no number or
// path of it leads to anything else.
func TestPart(t *testing.T) {
	t.Parallel()
	whole := files(t, newStore(t),
		archive(t, directory("etc"), regular("etc/shadow", "secret"), symlink("lib", "usr/lib"), directory("boot"), symlink("boot/out", "../etc/shadow"),
			regular("boot/kernel", "kernel"), hardlink("boot/old", "boot/kernel"), directory("usr/lib/modules/6.1"), regular("usr/lib/modules/6.1/dep", "dep"),
			&tar.Header{Typeflag: tar.TypeChar, Name: "usr/lib/modules/6.1/dev", Mode: 0o666, Devmajor: 1, Devminor: 1},
			directory("usr/lib/modules/6.1/kernel"), hardlink("usr/lib/modules/6.1/kernel/secret", "etc/shadow"), symlink("usr/lib/firmware", "/etc"),
			regular("usr/lib/secret", "another")),
		archive(t, regular("usr/lib/modules/6.1/late", "of the second layer")))
	before := names(t, whole)
	part := whole.Part(Place{"boot", "boot"}, Place{"lib/modules", "lib/modules"}, Place{"usr/lib/modules", "lib/modules"},
		Place{"usr/lib/modules", "usr/lib/modules"}, Place{"usr/lib/firmware", "lib/firmware"}, Place{"none", "none"})
	modules := func(at string) []string {
		return []string{at, at + "modules/", at + "modules/6.1/", at + "modules/6.1/dep", at + "modules/6.1/kernel/", at + "modules/6.1/kernel/secret", at + "modules/6.1/late"}
	}
	want := slices.Concat([]string{"boot/", "boot/kernel", "boot/old", "boot/out"}, modules("lib/"), []string{"usr/"}, modules("usr/lib/"))
	wantNames(t, part, want...)
	wantContent(t, part, "lib/modules/6.1/late", "of the second layer")
	wantContent(t, part, "usr/lib/modules/6.1/dep", "dep")
	if _, err := part.Open("boot/out"); err == nil {
		t.Error("a link leads out of it")
	}
	files, _ := part.Usage()
	for n := Root; n <= Ino(files); n++ {
		i, ok := part.Inode(n)
		if !ok {
			t.Fatalf("no file has the number %d", n)
		}
		if i.Mode().IsDir() {
			if up := i.Parent(); up.Number() >= n && n != Root {
				t.Errorf("directory %d is in %d", n, up.Number())
			}
		}
	}
	if _, ok := part.Inode(Ino(files + 1)); ok || files != 16 { // hard links count once, in both places too
		t.Errorf("it has %d files, and more", files)
	}
	kernel, err := part.Lstat("boot/kernel")
	if i, ok := part.Inode(kernel.(info).node.number); err != nil || !ok || i.Links() != 2 {
		t.Errorf("the kernel: %v", err)
	}
	if !slices.Equal(names(t, whole), before) || whole.root.kids["boot"].kids["kernel"] == part.root.kids["boot"].kids["kernel"] {
		t.Error("the tree that it is a part of has changed")
	}
}
