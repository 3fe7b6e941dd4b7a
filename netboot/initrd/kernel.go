package initrd

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// findKernel sets what is known of the newest kernel of the first of the architectures
// that has any, one with modules if there is one.
func (p *Plan) findKernel(archs []string, model string) error {
	dirs, err := moduleDirs(p.Tree)
	if err != nil {
		return err
	}
	boot, err := bootKernels(p.Tree)
	if err != nil {
		return err
	}
	if found, err := p.findOfModel(archs, model, dirs); found || err != nil {
		return err
	}
	if archs, dirs, boot, err = p.ofBoard(archs, model, dirs, boot); err != nil {
		return err
	}
	var other *ArchError
	for _, arch := range archs {
		found, err := p.findKernelOf(arch, dirs, boot)
		if wrong, is := errors.AsType[*ArchError](err); is {
			other = wrong
			continue
		}
		if found || err != nil {
			return err
		}
	}
	if other != nil {
		other.Want = archs
		return other
	}
	return ErrNoKernel
}

// findKernelOf is findKernel of one architecture, with the directories of modules and the
// kernels in /boot. The error is an ArchError when all kernels are of others.
func (p *Plan) findKernelOf(wanted string, dirs, boot []string) (found bool, err error) {
	var other *ArchError
	try := func(file, dir string) (bool, error) {
		head, err := readHead(p.Tree, file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		arch, version := identify(head)
		if arch != wanted {
			other = &ArchError{Kernel: file, Arch: arch}
			return false, nil
		}
		if dir != "" && version != "" && version != path.Base(dir) {
			return false, nil // the modules of another kernel
		}
		if dir != "" {
			version = path.Base(dir)
		}
		p.Kernel, p.Version, p.Arch, p.dir = file, version, arch, dir
		return true, nil
	}
	for _, dir := range dirs {
		for _, file := range kernelsFor(dir, boot, len(dirs) == 1) {
			if ok, err := try(file, dir); ok || err != nil {
				return ok, err
			}
		}
	}
	for _, file := range boot {
		if ok, err := try(file, ""); ok || err != nil {
			return ok, err
		}
	}
	if other != nil {
		return false, other
	}
	return false, nil
}

// moduleDirs returns the directories of modules, that of the newest kernel first.
func moduleDirs(tree fs.FS) ([]string, error) {
	for _, parent := range []string{"lib/modules", "usr/lib/modules"} {
		all, err := readDir(tree, parent)
		if err != nil {
			return nil, err
		}
		var dirs []string
		for _, e := range all {
			if e.IsDir() {
				dirs = append(dirs, path.Join(parent, e.Name()))
			}
		}
		if len(dirs) > 0 {
			slices.SortFunc(dirs, func(a, b string) int { return compareVersions(path.Base(b), path.Base(a)) })
			return dirs, nil
		}
	}
	return nil, nil
}

// prefixes begin the names of kernels in /boot.
var prefixes = []string{"vmlinuz", "vmlinux", "Image", "zImage", "kernel"}

// bootKernels returns what looks like a kernel in /boot, the newest first by name.
func bootKernels(tree fs.FS) (found []string, err error) {
	all, err := readDir(tree, "boot")
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		for _, prefix := range prefixes {
			if rest, ok := strings.CutPrefix(e.Name(), prefix); ok && !e.IsDir() && (rest == "" || rest[0] == '-' || rest[0] == '.') {
				found = append(found, "boot/"+e.Name())
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b string) int { return compareVersions(b, a) })
	return found, nil
}

// kernelsFor returns the files that may be the kernel of a directory of modules: those
// named after its version, then those named after its flavour, as Alpine's
// /boot/vmlinuz-lts of 6.6.30-0-lts, and when there is no other directory, any.
func kernelsFor(dir string, boot []string, only bool) (found []string) {
	version := path.Base(dir)
	for _, file := range boot {
		if _, name, ok := strings.Cut(path.Base(file), "-"); ok && name == version {
			found = append(found, file)
		}
	}
	found = append(found, path.Join(dir, "vmlinuz"))
	for _, file := range boot {
		_, name, ok := strings.Cut(path.Base(file), "-")
		mine := ok && name != version && strings.HasSuffix(version, "-"+name) || flavourFiles[flavour(version)] == path.Base(file)
		if f := flavourOf(file); mine || only && (f == "" || f == flavour(version)) && !slices.Contains(found, file) {
			found = append(found, file)
		}
	}
	return found
}

// readDir is what a directory has; one that is not there has nothing.
func readDir(tree fs.FS, name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(tree, name)
	if errors.Is(err, fs.ErrNotExist) || err != nil && isNoDir(tree, name) {
		return nil, nil
	}
	return all, err
}

// isNoDir reports whether the name is there and is no directory.
func isNoDir(tree fs.FS, name string) bool {
	info, err := fs.Stat(tree, name)
	return err == nil && !info.IsDir()
}

const (
	// headSize is how many bytes of a kernel tell what it is.
	headSize = 64 << 10
	// kernelLimit is how many bytes a kernel may have. An archive of a few bytes may have
	// a file of any size, and whoever boots a kernel copies it.
	kernelLimit = 256 << 20
)

// readHead returns the first bytes of a regular file, uncompressed if it is a gzip
// file, as kernels for arm64 are in some distributions.
func readHead(tree fs.FS, name string) ([]byte, error) {
	f, err := openRegular(tree, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() > kernelLimit {
		err = fmt.Errorf("/%s: %w", name, syscall.EFBIG)
	}
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(f, headSize))
	if err != nil {
		return nil, err
	}
	if z, err := gzip.NewReader(bytes.NewReader(head)); err == nil {
		// The rest of the archive is not there, so it ends with an error.
		head, _ = io.ReadAll(io.LimitReader(z, headSize))
	}
	return head, nil
}

// identify tells the architecture of a kernel by its first bytes, and its version if
// they have it. Both are empty for what is no kernel of a known form. See Linux
// Documentation/arch/x86/boot.rst, arm64/booting.rst, drivers/firmware/efi/libstub/
// zboot-header.S, and the headers of ARM's zImage and of U-Boot's images.
func identify(b []byte) (arch, version string) {
	b = b[:min(len(b), headSize)]
	at := func(off int, magic string) bool {
		return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
	}
	switch {
	case at(0x202, "HdrS") && len(b) > 0x238:
		arch = "386"
		if b[0x236]&1 != 0 {
			arch = "amd64"
		}
		if off := int(binary.LittleEndian.Uint16(b[0x20e:])); off > 0 && off+0x200 < len(b) {
			text, _, _ := bytes.Cut(b[off+0x200:], []byte{0})
			version, _, _ = strings.Cut(string(text[:min(len(text), 256)]), " ")
		}
		return arch, version
	case at(0x38, "ARM\x64"):
		return "arm64", ""
	case at(4, "zimg") && len(b) > 0x40:
		off := int(binary.LittleEndian.Uint32(b[0x3c:]) & 0xffff)
		if at(off, "PE\x00\x00") && len(b) >= off+6 {
			return map[uint16]string{0x8664: "amd64", 0xaa64: "arm64", 0x1c2: "arm"}[binary.LittleEndian.Uint16(b[off+4:])], ""
		}
	case at(0x24, "\x18\x28\x6f\x01"):
		return "arm", ""
	case at(0, "\x27\x05\x19\x56") && len(b) >= 64:
		return map[byte]string{2: "arm", 22: "arm64", 24: "amd64"}[b[29]], ""
	case at(0, "\x7fELF") && len(b) >= 20 && b[5] == 1: // little-endian
		return map[uint16]string{3: "386", 62: "amd64", 183: "arm64", 40: "arm"}[binary.LittleEndian.Uint16(b[18:])], ""
	}
	return "", ""
}

// compareVersions orders versions: runs of digits by value, all else by its bytes, and
// a release after its candidates (6.1.0-rc3).
func compareVersions(a, b string) int {
	a, b = strings.ReplaceAll(a, "-rc", "~"), strings.ReplaceAll(b, "-rc", "~")
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na == 0 || nb == 0 {
			if a[0] != b[0] {
				return order(a[0]) - order(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	switch {
	case strings.HasPrefix(a, "~"):
		return -1
	case strings.HasPrefix(b, "~"):
		return 1
	}
	return len(a) - len(b)
}

// order is the place of a byte among others: that of a candidate is the first.
func order(c byte) int {
	if c == '~' {
		return -1
	}
	return int(c)
}

// digits is with how many digits s begins.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
