package netboot_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images"
	"walt/images/content"
	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/instructions"
	"walt/netboot/nfs"
	"walt/state"
)

// bare is an image without a kernel, with these labels.
func bare(t *testing.T, name string, labels ...string) v1.Image {
	return imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Directory("usr/lib"), imagetest.Symlink("lib", "usr/lib"), imagetest.Regular("etc/name", name),
	)}, append(labels, "walt.node.models", "pc-x86-64")...)
}

// lent is what the machine sees of the image that lends its kernel.
func (f *fixture) lent(m netboot.Machine, i *instructions.Instructions) *content.Tree {
	f.T.Helper()
	if len(i.Root.NFS) != 2 {
		f.T.Fatalf("it has the file systems %v", i.Root.NFS)
	}
	d, err := content.ParseDigest(strings.TrimPrefix(i.Root.NFS[1].Path, "/"))
	if err != nil {
		f.T.Fatal(err)
	}
	tree, err := f.Tree(f.T.Context(), m.IP, nfs.IDOf(d))
	if err != nil || tree == nil {
		f.T.Fatal("it does not see it", err)
	}
	return tree
}

// An image without a kernel boots with that of another one, and sees nothing else of
// it; a boot keeps the one that it has.
func TestKernelIsBorrowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("bare", bare(t, "bare"))
	f.Choose("one", "bare")
	refused := func(words ...string) {
		t.Helper()
		_, err := f.Prepare(t.Context(), one)
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q", err, w)
			}
		}
	}
	refused("it has no kernel")
	f.SetKernel("alice/none")
	refused("it has no kernel", `no image "alice/none" here`, "the server's configuration")
	f.SetKernel("../../etc/passwd")
	refused("no image")
	f.SetKernel("alice/hollow")
	refused("that of alice/hollow does not serve: it has no kernel")

	f.SetKernel("alice/red")
	b, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	part := f.lent(one, i)
	var seen []string
	err := fs.WalkDir(part, ".", func(name string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			seen = append(seen, name)
		}
		return err
	})
	want := []string{"boot/name", "boot/vmlinuz-6.1.0"}
	for _, dir := range []string{"lib/modules/6.1.0/", "usr/lib/modules/6.1.0/"} {
		want = append(want, dir+"modules.alias", dir+"modules.builtin", dir+"modules.dep")
	}
	if !slices.Equal(seen, want) || err != nil {
		t.Errorf("it sees %q, %v", seen, err)
	}
	if tree, _ := f.Tree(t.Context(), one.IP, nfs.IDOf(content.Digest(f.Images["red"].Digest))); tree != nil {
		t.Error("it sees all of the image that lends its kernel")
	}
	if i.Digest != f.Images["bare"].Digest || i.Root.NFS[0].Path != "/"+i.Digest {
		t.Errorf("its own image is %s, %v", i.Digest, i.Root.NFS)
	}

	// What lends changes, and is removed: this boot goes on, over a restart too.
	f.SetKernel("alice/blue")
	if _, err := f.Store.Update(t.Context(), func(tx state.Tx) error { return images.Delete(tx, f.Images["red"].Ref) }); err != nil {
		t.Fatal(err)
	}
	f.Start()
	if found, err := f.Resume(t.Context(), one); !found || err != nil {
		t.Fatal(found, err)
	}
	if name, err := f.lent(one, i).ReadFile("boot/name"); string(name) != "red" || err != nil {
		t.Errorf("after a restart it has the kernel of %q, %v", name, err)
	}
	f.SetKernel("alice/blue")
	next, token := f.Prepared(one)
	i, _ = f.Ask(one, token)
	if name, _ := f.lent(one, i).ReadFile("boot/name"); string(name) != "blue" || next.Kernel == b.Kernel {
		t.Errorf("the next boot has the kernel of %q", name)
	}
}

// The label of an image comes before the configuration, and a name without a user is
// one of the image's owner before one of the default images.
func TestWhoseKernelIsBorrowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetKernel("alice/red")
	def, other := f.Images["red"], f.Images["red"]
	def.Ref = images.DefaultRef("red")
	other.Ref, _ = images.ParseRef("waltplatform/blue")
	f.Put(def)
	f.Put(other)
	for label, want := range map[string]string{
		"blue": "blue", "alice/blue:latest": "blue", "red-default": "red", "waltplatform/blue": "red", "": "red",
		"blue:old": "", "bob/blue": "", "two words": "", "hollow": "",
	} {
		f.Add("labelled", bare(t, label, images.KernelLabel, label))
		f.Choose("one", "labelled")
		b, err := f.Prepare(t.Context(), one)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "it has no kernel, and ") {
				t.Errorf("%q: %v", label, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", label, err)
			continue
		}
		_, token, _ := strings.Cut(b.CommandLine, "/boot/")
		i, _ := f.Ask(one, token)
		if name, err := f.lent(one, i).ReadFile("boot/name"); string(name) != want || err != nil {
			t.Errorf("%q is the kernel of %q, %v", label, name, err)
		}
	}
}

// An image that has a kernel boots it, whatever lends one.
func TestKernelOfItsOwnIsNotBorrowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetKernel("alice/blue")
	_, token := f.Prepared(one)
	if i, _ := f.Ask(one, token); len(i.Root.NFS) != 1 {
		t.Errorf("it has the file systems %v", i.Root.NFS)
	}
}
