package netboot_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
	"walt/netboot/netboottest"
)

// guarded is an image that enforces SELinux, and has programs with capabilities.
func guarded(t *testing.T) v1.Image {
	large := imagetest.Capable(imagetest.Regular("bin/large", strings.Repeat("x", 64<<20)), imagetest.CanPing)
	return netboottest.Bootable(t, "guarded",
		imagetest.Regular("etc/selinux/config", "# a comment\nSELINUX = Enforcing\nSELINUXTYPE=strict\n"),
		imagetest.Regular("etc/selinux/strict/policy/policy.33", "policy"),
		large, imagetest.Capable(imagetest.Regular("bin/ping", "ping"), imagetest.CanPing), imagetest.Hardlink("bin/ping6", "bin/ping"))
}

// What NFS does not carry is in the instructions: capabilities, the smallest files
// first as far as the memory of a machine allows, and that there are no labels.
func TestWhatFilesHaveBeyondNFS(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b, token := f.Prepared(one)
	if i, _ := f.Ask(one, token); len(i.Capabilities) > 0 || i.Permissive || strings.Contains(b.CommandLine, "enforcing") {
		t.Errorf("an image that has nothing of it: %v, %v, %s", i.Capabilities, i.Permissive, b.CommandLine)
	}
	f.Add("guarded", guarded(t))
	f.Choose("one", "guarded")
	b, token = f.Prepared(one)
	i, _ := f.Ask(one, token)
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

// cloud-init searches no further than its image, and does not touch the network.
func TestCloudInit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b, _ := f.Prepared(one)
	if strings.Contains(b.CommandLine, "ci.di") || strings.Contains(b.CommandLine, "network-config") {
		t.Errorf("of an image without: %s", b.CommandLine)
	}
	f.Add("cloudy", netboottest.Bootable(t, "cloudy", imagetest.Regular("usr/bin/cloud-init", "#!/usr/bin/python3\n")))
	f.Choose("one", "cloudy")
	b, _ = f.Prepared(one)
	words := strings.Fields(b.CommandLine)
	if !slices.Contains(words, "ci.di.policy=search,found=all,maybe=none,notfound=disabled") {
		t.Errorf("it searches further: %s", b.CommandLine)
	}
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "network-config=") })
	if at < 0 {
		t.Fatalf("it touches the network: %s", b.CommandLine)
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(words[at], "network-config="))
	if err != nil || string(text) != "{config: disabled}" {
		t.Errorf("the network is %q, %v", text, err)
	}
}
