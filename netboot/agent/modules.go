//go:build linux

package main

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// drivers loads modules of the initramfs, as modprobe does. It knows what package
// initrd writes: uncompressed modules, and the texts of depmod about these.
type drivers struct {
	dir     string
	files   map[string]string   // by the names of modules, with underscores
	deps    map[string][]string // files by a file
	soft    map[string][]string // names and aliases by name
	aliases map[string][]alias  // by what is before the first colon
	loaded  map[string]bool     // files, those that failed too
	seen    map[string]bool     // aliases of devices
	log     *record
}

type alias struct{ pattern, name string }

// openDrivers reads what is known of the modules of the running kernel. A kernel
// without modules has none.
func openDrivers(log *record) *drivers {
	return newDrivers("/lib/modules/"+kernelVersion(), log)
}

func newDrivers(dir string, log *record) *drivers {
	d := &drivers{
		dir: dir, files: map[string]string{}, deps: map[string][]string{}, soft: map[string][]string{},
		aliases: map[string][]alias{}, loaded: map[string]bool{}, seen: map[string]bool{}, log: log,
	}
	for line := range d.lines("modules.dep") {
		file, deps, _ := strings.Cut(line, ":")
		d.files[moduleName(file)] = file
		d.deps[file] = strings.Fields(deps)
	}
	for line := range d.lines("modules.softdep") {
		if words := strings.Fields(line); len(words) > 3 {
			d.soft[words[1]] = words[3:]
		}
	}
	for line := range d.lines("modules.alias") {
		if words := strings.Fields(line); len(words) == 3 {
			bus, _, _ := strings.Cut(words[1], ":")
			d.aliases[bus] = append(d.aliases[bus], alias{words[1], words[2]})
		}
	}
	return d
}

func (d *drivers) lines(name string) func(func(string) bool) {
	b, _ := os.ReadFile(path.Join(d.dir, name)) // a kernel without modules
	return strings.Lines(string(b))
}

// load loads the module of the name, or those of an alias, and what they need. It
// fails when there is none, and with what the kernel said to the last one.
func (d *drivers) load(name string) error {
	if file, ok := d.files[strings.ReplaceAll(name, "-", "_")]; ok {
		return d.insert(file)
	}
	err := error(os.ErrNotExist)
	bus, _, _ := strings.Cut(name, ":")
	for _, a := range d.aliases[bus] {
		if ok, _ := path.Match(a.pattern, name); ok {
			if file, ok := d.files[a.name]; ok {
				err = d.insert(file)
			}
		}
	}
	return err
}

// insert loads a file behind what it needs, once.
func (d *drivers) insert(file string) error {
	if d.loaded[file] {
		return nil
	}
	d.loaded[file] = true
	for _, name := range d.soft[moduleName(file)] {
		d.load(name) // what is wanted softly may be missing
	}
	deps := d.deps[file]
	for i := len(deps) - 1; i >= 0; i-- {
		if err := d.insert(deps[i]); err != nil {
			return err
		}
	}
	f, err := os.Open(path.Join(d.dir, file))
	if err != nil {
		return err
	}
	defer f.Close()
	if err = unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		d.log.logf("module %s: %v", moduleName(file), err)
		return err
	}
	return nil
}

// coldplug loads the drivers of all devices that are there, until no new ones come.
func (d *drivers) coldplug() {
	known := map[string]bool{} // devices, by their directory
	for found := true; found; {
		found = false
		for _, bus := range entries("/sys/bus") {
			dir := "/sys/bus/" + bus + "/devices/"
			for _, device := range entries(dir) {
				if known[dir+device] {
					continue
				}
				known[dir+device] = true
				name := modalias(dir + device)
				if name == "" || d.seen[name] {
					continue
				}
				d.seen[name] = true
				if d.load(name) == nil {
					found = true
				}
			}
		}
	}
}

// entries are the names in a directory, in their order.
func entries(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // as many as can be read
	slices.Sort(names)
	return names
}

// modalias is what a device calls itself, "" when it does not. Each of many system calls
// takes long on an emulated processor: these are the fewest.
func modalias(device string) string {
	fd, err := unix.Open(device+"/modalias", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [4096]byte // a page, the most that it is
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// modprobe does what the kernel asks for: modprobe -q -- NAME.
func modprobe(args []string) int {
	d := openDrivers(&record{out: kernelLog()})
	status := 0
	for _, name := range args {
		if !strings.HasPrefix(name, "-") && d.load(name) != nil {
			status = 1
		}
	}
	return status
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

func kernelVersion() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
