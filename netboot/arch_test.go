package netboot_test

import (
	"os"
	"strings"
	"testing"

	"walt/images"
	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/boottest"
	"walt/netboot/netboottest"
	"walt/nodes"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// boardImage is an image with a kernel for boards, which knows no virtio.
func boardImage(t *testing.T, kernel string) v1.Image {
	const dir = "lib/modules/6.1.0/"
	return imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Regular("boot/vmlinuz-6.1.0", kernel), imagetest.Regular("boot/name", "board"),
		imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.alias", ""),
		imagetest.Regular(dir+"modules.builtin", "kernel/nfs.ko\nkernel/nfsv3.ko\nkernel/overlay.ko\n"),
	)}, "walt.node.models", "pc-x86-64")
}

// A machine boots with the program for the architecture of its image's kernel, if its model
// runs that; the one that lends a kernel is looked at in the same way.
func TestArchitectureOfABoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("arm64", boardImage(t, boottest.KernelARM64))
	f.Add("arm", boardImage(t, boottest.KernelARM))
	f.Add("pc", boardImage(t, boottest.Header("6.1.0")))
	f.Add("bare", bare(t, "bare"))
	for _, c := range []struct{ model, image, lender, agent, why string }{
		{"rpi-4-b", "arm64", "", "arm64", ""},
		{"rpi-4-b", "arm", "", "arm", ""},
		{"rpi-2-b", "arm", "", "arm", ""},
		{"rpi-b", "arm", "", "arm", ""},
		{"pc-x86-64", "pc", "", "amd64", ""},
		{"odd-board", "arm64", "", "arm64", ""},
		{"rpi-4-b", "bare", "alice/arm64", "arm64", ""},
		{"rpi-2-b", "arm64", "", "", "the kernel /boot/vmlinuz-6.1.0 is for arm64, not for arm"},
		{"rpi-4-b", "pc", "", "", "the kernel /boot/vmlinuz-6.1.0 is for amd64, not for arm64 or arm"},
		{"pc-x86-64", "arm", "", "", "the kernel /boot/vmlinuz-6.1.0 is for arm, not for amd64"},
		{"rpi-4-b", "bare", "alice/pc alice/none alice/arm alice/arm64", "arm", ""},
		{"pc-x86-64", "bare", "alice/arm64 alice/pc", "amd64", ""},
		{"rpi-4-b", "bare", "alice/none alice/pc", "", "it has no kernel, and there is no image \"alice/none\" here, which the server's configuration names to lend one, and that of alice/pc does not serve: the kernel /boot/vmlinuz-6.1.0 is for amd64, not for arm64 or arm"},
		{"rpi-4-b", "bare", "alice/pc", "", "it has no kernel, and that of alice/pc does not serve: the kernel /boot/vmlinuz-6.1.0 is for amd64, not for arm64 or arm"},
		{"pc-x86-32", "pc", "", "", "machines of the model pc-x86-32 run linux/386, for which this server has no program"},
	} {
		f.SetKernel(c.lender)
		f.Choose("one", c.image)
		m := one
		m.Virtual, m.Model = false, images.Model(c.model)
		b, err := f.Prepare(t.Context(), m)
		known := f.Knows(c.image, nodes.Device{Name: "one", Model: m.Model, Host: nodes.Physical})
		if c.why != "" {
			if err == nil || err.Error() != "the image cannot boot a machine: "+c.why || known.Why != c.why {
				t.Errorf("%+v: %v, known is %q", c, err, known.Why)
			}
			continue
		}
		if err != nil || known.Why != "" {
			t.Errorf("%+v: %v, known is %q", c, err, known.Why)
			continue
		}
		for range 2 { // after a restart, too, when what was made is gone
			if text := netboottest.Unpacked(t, b.Initrd); !strings.Contains(text, "agent for "+c.agent) {
				t.Errorf("%+v: it has another agent", c)
			}
			if err := os.RemoveAll(f.Next.Dir); err != nil {
				t.Fatal(err)
			}
			f.Start()
			f.SetKernel(c.lender)
			if found, err := f.Resume(t.Context(), m); !found || err != nil {
				t.Fatal(found, err)
			}
			if b, err = netboot.Files(t.Context(), f.Server, m); err != nil {
				t.Fatal(err)
			}
		}
		if console := strings.Contains(f.commandLine(m), "console="); console != (c.agent == "amd64") {
			t.Errorf("%+v: a console is told: %v", c, console)
		}
	}
	// The network of a board is no concern of virtio's, which a machine of the server needs.
	if o := f.Knows("pc", nodes.Device{Name: "vm", Model: "pc-x86-64", Host: nodes.QEMU}); o.Why != "its kernel 6.1.0 has no virtio_net, virtio_pci" {
		t.Errorf("on a machine of the server: %+v", o)
	}
}

// commandLine is that of the next boot of a machine.
func (f *fixture) commandLine(m netboot.Machine) string {
	f.T.Helper()
	b, err := f.Prepare(f.T.Context(), m)
	if err != nil {
		f.T.Fatal(err)
	}
	return b.CommandLine
}
