package initrd

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Raspberry Pi OS has several kernels of one version, each for some of the boards: their
// versions end in a flavour, as in 6.6.31+rpt-rpi-v8, or 6.1.21-v8+ before 2023, and the boards'
// firmware knows each by the name of a file. See
// https://www.raspberrypi.com/documentation/computers/config_txt.html

// pi are the boards of some models.
type pi struct {
	model    string   // what their models begin with
	section  string   // of config.txt that is theirs
	wide     bool     // their firmware starts kernels of 64 bits unless it is told otherwise
	flavours []string // that they run, the best first
}

// pis are those that are known. The first one that a model begins with counts.
var pis = []pi{
	{"rpi-5", "pi5", true, []string{"2712", "v8"}},
	{"rpi-cm-5", "pi5", true, []string{"2712", "v8"}},
	{"rpi-4", "pi4", true, []string{"v8", "v7l"}},
	{"rpi-cm-4", "pi4", true, []string{"v8", "v7l"}},
	{"rpi-3", "pi3", false, []string{"v8", "v7"}},
	{"rpi-cm-3", "pi3", false, []string{"v8", "v7"}},
	{"rpi-zero-2", "pi02", false, []string{"v8", "v7"}},
	{"rpi-2", "pi2", false, []string{"v7"}},
	{"rpi-1", "pi1", false, []string{"v6"}},
	{"rpi-a", "pi1", false, []string{"v6"}},
	{"rpi-b", "pi1", false, []string{"v6"}},
	{"rpi-zero", "pi0", false, []string{"v6"}},
}

// flavourFiles are the names that kernels of a flavour have for firmware.
var flavourFiles = map[string]string{
	"v6": "kernel.img", "v7": "kernel7.img", "v7l": "kernel7l.img", "v8": "kernel8.img", "2712": "kernel_2712.img",
}

// flavour is that of a version of a kernel of Raspberry Pi OS, "" of another one.
func flavour(version string) string {
	old, is := strings.CutSuffix(version, "+")
	if is && strings.Trim(old, "0123456789.") == "" {
		return "v6"
	}
	switch end := old[strings.LastIndexByte(old, '-')+1:]; {
	case end == "16k" && strings.HasSuffix(old, "-v8-16k"):
		return "2712"
	case old == end:
		return ""
	default:
		if flavourFiles[end] == "" {
			return ""
		}
		return end
	}
}

// flavourOf is that of a kernel by the name of its file: kernel8.img, or vmlinuz-VERSION.
func flavourOf(file string) string {
	base := path.Base(file)
	for f, name := range flavourFiles {
		if base == name {
			return f
		}
	}
	_, version, _ := strings.Cut(base, "-")
	return flavour(version)
}

// BoardError says that all kernels of an image are for other boards.
type BoardError struct {
	Kernel string // the path of one, without a leading slash
	Model  string // of the board
}

func (e *BoardError) Error() string {
	return fmt.Sprintf("the kernel /%s is not for boards of the model %s", e.Kernel, e.Model)
}

// piOf is the board of a model, false when that is none that is known.
func piOf(model string) (pi, bool) {
	i := slices.IndexFunc(pis, func(b pi) bool { return strings.HasPrefix(model, b.model) })
	if i < 0 {
		return pi{}, false
	}
	return pis[i], true
}

// ofBoard returns what findKernel is to choose among for boards of a model. The Plan is of
// that model from then on if there are kernels for certain boards.
func (p *Plan) ofBoard(archs []string, model string, dirs, boot []string) (_, _, _ []string, err error) {
	b, is := piOf(model)
	if !is {
		return archs, dirs, boot, nil
	}
	for _, dir := range []string{"boot/firmware", "boot"} {
		for _, name := range slices.Sorted(maps.Values(flavourFiles)) {
			if info, err := fs.Stat(p.Tree, path.Join(dir, name)); err == nil && info.Mode().IsRegular() {
				boot = append(boot, path.Join(dir, name))
			}
		}
	}
	p.OfModel = slices.ContainsFunc(boot, func(file string) bool { return flavourOf(file) != "" })
	fitting := b.among(boot, flavourOf)
	if len(boot) > 0 && len(fitting) == 0 {
		return nil, nil, nil, &BoardError{boot[0], model}
	}
	archs, err = b.order(p.Tree, archs)
	return archs, b.among(dirs, func(dir string) string { return flavour(path.Base(dir)) }), fitting, err
}

// among returns those of directories of modules, or of kernels, that the board runs, each of
// which has a flavour or none: the best first, otherwise in their order.
func (b pi) among(all []string, flavour func(string) string) (fit []string) {
	for _, f := range append(slices.Clone(b.flavours), "") {
		for _, one := range all {
			if flavour(one) == f {
				fit = append(fit, one)
			}
		}
	}
	return fit
}

// order returns architectures in the order in which the firmware of the board starts their
// kernels, as config.txt of the image has it. Without such a file they stay as they are.
func (b pi) order(tree fs.FS, archs []string) ([]string, error) {
	const limit = 64 << 10
	for _, name := range []string{"boot/firmware/config.txt", "boot/config.txt"} {
		text, err := read(tree, name, limit)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		archs = slices.Clone(archs)
		if !b.isWide(string(text)) {
			slices.Sort(archs) // arm, arm64
		}
		break
	}
	return archs, nil
}

// isWide reports whether firmware with that config.txt starts a kernel of 64 bits.
func (b pi) isWide(config string) bool {
	wide, ours := b.wide, true
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if section, is := strings.CutPrefix(line, "["); is {
			section, _, _ = strings.Cut(section, "]")
			ours = section == "all" || section == b.section
		}
		if value, is := strings.CutPrefix(line, "arm_64bit="); is && ours {
			wide = strings.TrimSpace(value) != "0"
		}
	}
	return wide
}
