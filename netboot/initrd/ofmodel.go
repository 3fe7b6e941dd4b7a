package initrd

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// findOfModel sets what is known of the kernel that an image has for boards of a model, in
// boot/MODEL/kernel, as WalT's images have it. It reports whether there is one of the
// architectures.
func (p *Plan) findOfModel(archs []string, model string, dirs []string) (bool, error) {
	if model == "" {
		return false, nil
	}
	file := path.Join(modelDir(model), "kernel")
	head, err := readHead(p.Tree, file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	arch, version := identify(head)
	if !slices.Contains(archs, arch) {
		return false, nil // or others are
	}
	p.Kernel, p.Version, p.Arch, p.OfModel = file, version, arch, true
	if p.dir, err = p.modulesOf(file, version, dirs); p.dir != "" {
		p.Version = path.Base(p.dir)
	}
	return true, err
}

// modulesOf returns the directory of the modules of a kernel of a model, "" when there is
// none: that of its version, of the end of that which the file kernel.extension beside it
// tells (the shortest one that ends so), or of what the file is a link to.
func (p *Plan) modulesOf(file, version string, dirs []string) (string, error) {
	if version != "" {
		for _, dir := range dirs {
			if path.Base(dir) == version {
				return dir, nil
			}
		}
		return "", nil
	}
	end, err := read(p.Tree, file+".extension", 256)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if end := strings.TrimSpace(string(end)); end != "" {
		shortest := ""
		for _, dir := range dirs {
			if strings.HasSuffix(dir, end) && (shortest == "" || len(dir) < len(shortest)) {
				shortest = dir
			}
		}
		return shortest, nil
	}
	target, err := fs.ReadLink(p.Tree, file)
	if err != nil {
		target = file // it is none
	}
	target = path.Join(path.Dir(file), target)
	for _, dir := range dirs {
		if found := kernelsFor(dir, []string{target}, len(dirs) == 1); slices.Contains(found, target) {
			return dir, nil
		}
	}
	return "", nil
}
