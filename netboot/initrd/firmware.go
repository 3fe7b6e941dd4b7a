package initrd

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
)

const (
	// firmwareLimit is how many bytes of firmware an initramfs takes: small files go
	// first, those of 10 Mbit to 10 Gbit cards need less than half of it.
	firmwareLimit = 8 << 20
	// firmwareNameLimit is how many names are looked for.
	firmwareNameLimit = 10_000
	// firmwareHeld is how many bytes are held to choose from.
	firmwareHeld = 8 * firmwareLimit
)

// Missing is firmware that a driver names and that an initramfs does not have.
type Missing struct {
	Driver string // the name of a module
	File   string // below /lib/firmware
	Large  bool   // it is there, but too large, or damaged
}

// findFirmware reads what drivers name.
func (p *Plan) findFirmware(named map[string]string) (found map[string][]byte, missing []Missing) {
	found = map[string][]byte{}
	names := slices.Sorted(maps.Keys(named))
	var some []string
	held := 0
	for _, name := range names[:min(len(names), firmwareNameLimit)] {
		b, err := p.readFirmware(name)
		if err == nil && held+len(b) > firmwareHeld {
			err = syscall.EFBIG
		}
		if err != nil {
			missing = append(missing, Missing{named[name], name, !errors.Is(err, fs.ErrNotExist)})
			continue
		}
		held += len(b)
		found[name] = b
		some = append(some, name)
	}
	slices.SortStableFunc(some, func(a, b string) int { return len(found[a]) - len(found[b]) })
	sum := 0
	for _, name := range some {
		if sum += len(found[name]); sum > firmwareLimit {
			delete(found, name)
			missing = append(missing, Missing{named[name], name, true})
		}
	}
	return found, missing
}

// readFirmware looks where the kernel looks; see Linux
// Documentation/driver-api/firmware/fw_search_path.rst
func (p *Plan) readFirmware(name string) ([]byte, error) {
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\x00*?[") {
		return nil, fs.ErrNotExist
	}
	for _, tree := range p.firmware {
		for _, lib := range []string{"lib/firmware", "usr/lib/firmware"} {
			for _, dir := range []string{"updates/" + p.Version, "updates", p.Version, ""} {
				for _, suffix := range []string{"", ".zst", ".xz"} {
					b, err := readPlain(tree, path.Join(lib, dir, name)+suffix, firmwareLimit)
					if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && !isNotDir(err) {
						return b, err
					}
				}
			}
		}
	}
	return nil, fs.ErrNotExist
}
