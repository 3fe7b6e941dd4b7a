package content

import (
	"archive/tar"
	"slices"
	"strings"
	"testing"

	"walt/images/imagetest"
)

// A file has the capability of the layer that made it last, under all of its names.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	const ping = imagetest.CanPing
	third := "\x00\x00\x00\x03" + strings.Repeat("\x01", 20) // with the user of a namespace
	able := func(name string) *tar.Header { return imagetest.Capable(regular(name, name), ping) }
	tree := files(t, newStore(t),
		archive(t, able("bin/ping"), hardlink("bin/ping6", "bin/ping"), imagetest.Capable(regular("bin/other", "x"), third),
			able("bin/replaced"), able("bin/removed"), able("bin/linked"), hardlink("bin/left", "bin/linked"), able("opaque/tool"),
			able("moved/tool"), symlink("lib", "usr/lib"), able("lib/helper"), directory("tmp"),
			imagetest.Capable(regular("bin/short", "x"), ping[:12]), imagetest.Capable(regular("bin/wrong", "x"), "\x01\x00\x00\x09"+ping[4:])),
		archive(t, regular("bin/replaced", "without"), regular("bin/.wh.removed", ""), regular("bin/.wh.linked", ""), regular("opaque/.wh..wh..opq", ""),
			regular("bin/given", "x"), regular("moved", "a file in its place"), hardlink("bin/late", "bin/ping")),
		archive(t, imagetest.Capable(regular("bin/given", "again"), third), regular("bin/ping6", "another program")))
	var got []string
	for _, c := range tree.Capabilities() {
		got = append(got, c.Path)
		want := ping
		if c.Path == "bin/given" || c.Path == "bin/other" {
			want = third
		}
		i, err := tree.Lstat(c.Path)
		if err != nil || c.Capability != want || i.Sys().(Attr).Capability != want || c.Size != i.Size() {
			t.Errorf("%s: %q, %v", c.Path, c.Capability, err)
		}
	}
	if want := []string{"bin/given", "bin/late", "bin/left", "bin/other", "bin/ping", "usr/lib/helper"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	i, err := tree.Stat("bin/replaced")
	if err != nil || i.Sys().(Attr).Capability != "" {
		t.Errorf("a file that was replaced: %v, %v", i, err)
	}
	if all := files(t, newStore(t), archive(t, regular("bin/ping", "x"))).Capabilities(); len(all) > 0 {
		t.Errorf("an image without any has %v", all)
	}
}
