package netboot_test

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images"
	"walt/images/imagetest"
)

// guarded is an image that enforces SELinux, and has programs with capabilities.
func guarded(t *testing.T) v1.Image {
	large := imagetest.Capable(imagetest.Regular("bin/large", strings.Repeat("x", 64<<20)), imagetest.CanPing)
	return bootable(t, "guarded",
		imagetest.Regular("etc/selinux/config", "# a comment\nSELINUX = Enforcing\nSELINUXTYPE=strict\n"),
		imagetest.Regular("etc/selinux/strict/policy/policy.33", "policy"),
		large, imagetest.Capable(imagetest.Regular("bin/ping", "ping"), imagetest.CanPing), imagetest.Hardlink("bin/ping6", "bin/ping"))
}

// What NFS does not carry is in the instructions: capabilities, the smallest files
// first as far as the memory of a machine allows, and that there are no labels.
func TestWhatFilesHaveBeyondNFS(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b, token := f.prepare(one)
	if i, _ := f.ask(one, token); len(i.Capabilities) > 0 || i.Permissive || strings.Contains(b.CommandLine, "enforcing") {
		t.Errorf("an image that has nothing of it: %v, %v, %s", i.Capabilities, i.Permissive, b.CommandLine)
	}
	f.add(f.config.Library.(*images.Library), "guarded", guarded(t))
	f.choose("one", "guarded")
	b, token = f.prepare(one)
	i, _ := f.ask(one, token)
	if !i.Permissive || !slices.Contains(strings.Fields(b.CommandLine), "enforcing=0") {
		t.Errorf("SELinux: %v, %s", i.Permissive, b.CommandLine)
	}
	var got []string
	for _, c := range i.Capabilities {
		if got = append(got, c.Path); string(c.Value) != imagetest.CanPing {
			t.Errorf("%s: %q", c.Path, c.Value)
		}
	}
	if want := []string{"/bin/ping", "/bin/ping6"}; !slices.Equal(got, want) {
		t.Errorf("capabilities of %v, want those of %v", got, want)
	}
}
