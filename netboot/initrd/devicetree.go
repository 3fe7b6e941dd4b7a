package initrd

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// deviceTreeLimit is how many bytes a device tree has at most.
const deviceTreeLimit = 2 << 20

// deviceTreeDirs are where distributions have device trees for the kernel.
func (p *Plan) deviceTreeDirs() []string {
	v := p.Version
	dirs := []string{
		"usr/lib/linux-image-" + v, "lib/linux-image-" + v, // Debian
		"lib/modules/" + v + "/dtb", "usr/lib/modules/" + v + "/dtb", // Fedora
		"lib/firmware/" + v + "/device-tree", "usr/lib/firmware/" + v + "/device-tree", // Ubuntu
		"boot/dtbs/" + v, "boot/dtb-" + v, "boot/dtbs-" + v,
	}
	if i := strings.LastIndex(v, "-"); i > 0 {
		dirs = append(dirs, "boot/dtbs"+v[i:]) // Alpine
	}
	return append(dirs, "boot/dtbs", "boot/dtb")
}

// modelDir is where an image has what boards of a model boot with, as WalT's images have.
func modelDir(model string) string { return path.Join("boot", model) }

// HasDeviceTrees reports whether DeviceTree may find one for a board of a model.
func (p *Plan) HasDeviceTrees(model string) bool {
	dirs := p.deviceTreeDirs()
	if model != "" {
		dirs = append(dirs, modelDir(model))
	}
	for _, dir := range dirs {
		if _, err := fs.Stat(p.Tree, dir); err == nil {
			return true
		}
	}
	return false
}

// DeviceTree returns the device tree of a board: the one of its model, when the image has
// that in boot/MODEL, or the file that the board asks for, as in
// rockchip/rk3399-rockpro64.dtb, where distributions have it. model and asked may be "".
// The error is fs.ErrNotExist when there is none.
func (p *Plan) DeviceTree(model, asked string) ([]byte, error) {
	var names []string
	named := strings.HasSuffix(asked, ".dtb") && fs.ValidPath(asked)
	if model != "" {
		dir := modelDir(model)
		if named {
			names = append(names, path.Join(dir, asked), path.Join(dir, path.Base(asked)))
		}
		names = append(names, path.Join(dir, "dtb"))
		if all, err := readDir(p.Tree, dir); err == nil {
			var found []string
			for _, e := range all {
				if strings.HasSuffix(e.Name(), ".dtb") {
					found = append(found, path.Join(dir, e.Name()))
				}
			}
			if len(found) == 1 {
				names = append(names, found[0])
			}
		}
	}
	if named {
		for _, dir := range p.deviceTreeDirs() {
			names = append(names, path.Join(dir, asked), path.Join(dir, path.Base(asked)))
		}
	}
	for _, name := range names {
		b, err := read(p.Tree, name, deviceTreeLimit)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && !isNotDir(err) {
			return b, err
		}
	}
	return nil, fs.ErrNotExist
}
