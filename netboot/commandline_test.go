package netboot_test

import (
	"slices"
	"strings"
	"testing"

	"walt/images"
	"walt/images/imagetest"
	"walt/netboot/boottest"
	"walt/nodes"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Of the consoles that the server, the label of an image and the settings of a node name,
// each is there once, where it was named last; the one that a node is set to is the last of all.
func TestConsoles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const dir = "lib/modules/6.1.0/"
	f.add(f.config.Library.(*images.Library), "label", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Regular("boot/vmlinuz-6.1.0", boottest.Header("6.1.0")), imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.alias", ""),
		imagetest.Regular(dir+"modules.builtin", "nfs.ko\nnfsv3.ko\noverlay.ko\n"),
	)}, "walt.node.models", "pc-x86-64", images.BootArgsLabel, "console=ttyS0,9600 quiet"))
	m := one
	m.Virtual, m.Settings.Loader = false, nodes.Direct
	for _, c := range []struct{ image, args, console, want string }{
		{"red", "", "", "ttyS0,115200 tty0"},
		{"red", "console=ttyS1", "", "ttyS0,115200 tty0 ttyS1"},
		{"red", "console=ttyS1 console=ttyS1,9600", "", "ttyS0,115200 tty0 ttyS1,9600"},
		{"red", "", "ttyS1,115200", "tty0 ttyS1,115200"},
		{"red", "console=ttyS2", "ttyS1,115200", "tty0 ttyS2 ttyS1,115200"},
		{"label", "", "", "tty0 ttyS0,9600"},
		{"label", "console=tty0", "", "ttyS0,9600 tty0"},
		{"label", "", "ttyS0,115200", "tty0 ttyS0,115200"},
	} {
		f.choose("one", c.image)
		m.Settings.BootArgs, m.Settings.Console = c.args, c.console
		b, err := f.Prepare(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		words := slices.DeleteFunc(strings.Fields(b.CommandLine), func(w string) bool { return !strings.HasPrefix(w, "console=") })
		if got := strings.ReplaceAll(strings.Join(words, " "), "console=", ""); got != c.want {
			t.Errorf("%+v: its consoles are %s", c, got)
		}
	}
}
