// Package initrd makes the initramfs with which a machine boots an image over the
// network: the image's own modules, and the firmware that its network drivers name,
// around a program of ours that is run as /init. Nothing of an image is run for it, and
// nothing that an image holds makes it use more memory than the limits of this package.
// Its one surprising rule: modules and firmware are always packed uncompressed, because
// the whole is compressed, and because few kernels can uncompress them.
package initrd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// What a kernel needs to be booted in some way, as arguments of Plan.Lacks.
var (
	// Always is what /init itself needs.
	Always = []string{"initrd", "devtmpfs"}
	// NFSRoot is what a root file system over NFS needs, with a writable layer on it.
	NFSRoot = []string{"nfs", "nfsv3", "overlay"}
	// Virtio is what the network of a virtual PC needs.
	Virtio = []string{"virtio_net", "virtio_pci"}
)

// ErrNoKernel says that there is no kernel in the places where they are looked for:
// /boot/vmlinuz* (Image*, zImage*, kernel-*) and /lib/modules/VERSION/vmlinuz.
var ErrNoKernel = errors.New("it has no kernel")

// Archs are the architectures of which there is a program for machines, as Go names them.
var Archs = []string{"amd64", "arm64", "arm"}

// ArchError says that all kernels of an image are of other architectures.
type ArchError struct {
	Kernel string   // the path of one, without a leading slash
	Arch   string   // its architecture as Go names it, empty when it is none of those that are known
	Want   []string // those that the machine runs
}

func (e *ArchError) Error() string {
	want := strings.Join(e.Want, " or ")
	if e.Arch == "" {
		return fmt.Sprintf("/%s is no kernel for %s", e.Kernel, want)
	}
	return fmt.Sprintf("the kernel /%s is for %s, not for %s", e.Kernel, e.Arch, want)
}

// IndexError says that nobody wrote down which modules there are in a directory.
type IndexError struct{ Dir string }

func (e *IndexError) Error() string {
	return fmt.Sprintf("/%s has no modules.dep; depmod makes it", e.Dir)
}

// Unfit reports whether an error of Inspect is about the image, and not that it could
// not be read.
func Unfit(err error) bool {
	_, arch := errors.AsType[*ArchError](err)
	_, board := errors.AsType[*BoardError](err)
	_, index := errors.AsType[*IndexError](err)
	return arch || board || index || errors.Is(err, ErrNoKernel) || errors.Is(err, syscall.EFBIG)
}

// Plan is which kernel boots an image, and what its initramfs is made of.
type Plan struct {
	Kernel   string // its path in Tree, without a leading slash
	Version  string // as uname -r will tell it; empty when a kernel without modules does not tell
	Arch     string // as Go names it: amd64, arm64 or arm
	OfModel  bool   // the image has this kernel for boards of the model
	borrowed bool   // kernel, modules and firmware are those of the lender
	Tree     fs.FS  // that has Kernel

	firmware []fs.FS // where firmware is looked for, in this order
	dir      string  // of the modules; empty: there are none
	set      modules
	picked   []module // in an order in which they could be loaded
	config   config
}

// Inspect finds in an image the newest kernel of the first of some architectures of which
// it has one, and what its initramfs needs. The kernel that it has for boards of the model,
// in boot/MODEL as WalT's images do, comes before others, and of those of Raspberry Pi OS
// only that counts which a board runs. When the image has no kernel at all, those of the lender, if there
// is one, are taken. Trees resolve symbolic links by themselves, as content.Tree does.
// It reads no module: it is fast. See Unfit about the error.
func Inspect(archs []string, model string, image, lender fs.FS) (*Plan, error) {
	p := &Plan{Tree: image, firmware: []fs.FS{image}}
	err := p.findKernel(archs, model)
	if errors.Is(err, ErrNoKernel) && lender != nil {
		p = &Plan{Tree: lender, borrowed: true, firmware: []fs.FS{lender, image}}
		err = p.findKernel(archs, model)
	}
	if err != nil {
		return nil, err
	}
	if p.config, err = readConfig(p.Tree, p.Version, p.dir); err != nil {
		return nil, err
	}
	if p.dir == "" {
		return p, nil
	}
	if p.set, err = readModules(p.Tree, p.dir); err != nil {
		return nil, err
	}
	p.picked = p.set.pick(p.Arch)
	return p, nil
}

// Lacks returns those of the names that the kernel has neither as a module nor built
// in, in their order, and modules without which they cannot be loaded. A name is that of a module, with underscores, or "initrd" or
// "devtmpfs", which are lacking when the kernel's configuration is here and says so.
func (p *Plan) Lacks(names ...string) (lacking []string) {
	for _, name := range names {
		switch name {
		case "initrd":
			if p.config.off("BLK_DEV_INITRD") {
				lacking = append(lacking, name)
			}
		case "devtmpfs":
			if p.config.off("DEVTMPFS") {
				lacking = append(lacking, name)
			}
		default:
			i, ok := p.set.byName[name]
			if !ok && !p.set.builtin[name] {
				lacking = append(lacking, name)
			}
			if ok {
				lacking = append(lacking, p.set.lost(i)...)
			}
		}
	}
	return lacking
}

// Gone returns the files of modules that the initramfs would have and that are not
// there, though modules.dep lists them.
func (p *Plan) Gone() (files []string) {
	for _, m := range p.picked {
		name := path.Join(p.dir, m.file)
		if _, err := fs.Stat(p.Tree, name); err != nil {
			files = append(files, name)
		}
	}
	return files
}

// config is the configuration of a kernel: what it says of CONFIG_name. nil: unknown.
type config map[string]string

// readConfig reads it from where distributions put it.
func readConfig(tree fs.FS, version, dir string) (config, error) {
	names := []string{"boot/config-" + version}
	if dir != "" {
		names = append(names, path.Join(dir, "config"))
	}
	for _, name := range names {
		b, err := read(tree, name, 4<<20)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return parseConfig(string(b)), nil
	}
	return nil, nil
}

func parseConfig(text string) config {
	c := config{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			if name, ok := strings.CutPrefix(name, "CONFIG_"); ok {
				c[name] = value
			}
		}
	}
	return c
}

// off reports whether the configuration is known and has not set the name.
func (c config) off(name string) bool { return len(c) > 0 && c[name] != "y" && c[name] != "m" }
