package netboot_test

import (
	"slices"
	"strings"
	"testing"

	"walt/images"
	"walt/images/imagetest"
	"walt/netboot"
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
	f.Add("label", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
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
		f.Choose("one", c.image)
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

// All machines of a model are told what the configuration has for it; what a node is set to
// comes after that, or instead.
func TestModelBoots(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetModels(map[images.Model]netboot.ModelBoot{one.Model: {Args: "loglevel=7 quiet", Console: "ttyS1,9600"}, "other": {Args: "wrong", Console: "ttyS9"}})
	f.Choose("one", "red")
	board := one
	board.Virtual, board.Settings.Loader = false, nodes.Direct
	for _, c := range []struct {
		m             netboot.Machine
		args, console string
		want          string // how it ends
	}{
		{board, "", "", " loglevel=7 quiet console=ttyS1,9600"},
		{board, "loglevel=3", "ttyS2", " loglevel=7 quiet loglevel=3 console=ttyS2"},
		{one, "loglevel=3", "", " loglevel=7 quiet loglevel=3"},
	} {
		c.m.Settings.BootArgs, c.m.Settings.Console = c.args, c.console
		b, err := f.Prepare(t.Context(), c.m)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.CommandLine, c.want) || strings.Contains(b.CommandLine, "wrong") {
			t.Errorf("set to %q and %q it is told %q", c.args, c.console, b.CommandLine)
		}
	}
}
