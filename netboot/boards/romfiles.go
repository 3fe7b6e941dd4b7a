package boards

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/images"
	"walt/images/content"
	"walt/netboot"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/state"
)

// What ROMs of Raspberry Pis ask for, see
// https://www.raspberrypi.com/documentation/computers/config_txt.html. Two files are made
// for each boot, and name two others, which are its kernel and initramfs; all others are
// of the image.
const (
	romConfig, romCommandLine    = "config.txt", "cmdline.txt"
	romKernelFile, romInitrdFile = "walt-kernel.img", "walt-initrd.img"
)

// romPrefix is what ROMs put before names: the serial number of the board, or its MAC
// address.
var romPrefix = regexp.MustCompile(`^([0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{2}(-[0-9a-f]{2}){5})/+`)

// raspberryFile is what the ROM of a board asks for.
func (b *boards) raspberryFile(ip netip.Addr, mac ethernet.MAC, name string) (tftp.File, error) {
	r := b.romAsks(mac)
	if r == nil {
		return tftp.File{}, errOthers
	}
	ctx := context.Background() // what is begun is made, whoever waits for it
	d, here, err := b.Lab.Device(ctx, mac)
	if err != nil || !here {
		return tftp.File{}, errors.Join(err, errOthers)
	}
	name = romPrefix.ReplaceAllString(name, "")
	if m := fileModel(name); d.Model == "" && m != "" {
		if d, err = b.Lab.Met(ctx, nodes.Arrival{MAC: mac, Model: m}); err != nil {
			return tftp.File{}, err
		}
	}
	if d.Model == "" && name == romConfig { // with it a board asks for what tells its model
		return text([]byte("# Its model is not known yet.\n"))
	}
	made, err := b.romBoot(ctx, r, d, ip)
	if made == nil {
		return tftp.File{}, err
	}
	f, err := b.romPart(ctx, made, name)
	if err != nil {
		return f, err
	}
	f.Blocks = mostBlocks
	return b.watched(r, name, f), nil
}

// romBoot is the boot of which a board asks for a file: a new one for the first file after
// it asked for its address. nil: there is none.
func (b *boards) romBoot(ctx context.Context, r *rom, d nodes.Device, ip netip.Addr) (*netboot.Fetched, error) {
	b.mu.Lock()
	fresh, begun := r.fresh, r.begun
	made := b.Boots.Fetched(d.MAC)
	fresh = fresh || made == nil
	r.begun = fresh
	b.mu.Unlock()
	switch {
	case begun:
		return nil, tftp.ErrLater
	case !fresh:
		return made, nil
	}
	made, err := b.romBegins(ctx, d, ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	r.begun, r.fresh = false, made == nil
	return made, err
}

// romBegins prepares the boot of a board.
func (b *boards) romBegins(ctx context.Context, d nodes.Device, ip netip.Addr) (*netboot.Fetched, error) {
	made, why, _ := b.next(ctx, d, ip)
	if made == nil {
		if why == preparing || why == runs {
			return nil, tftp.ErrLater
		}
		b.Boots.Complain(ip, "a board cannot boot yet", "device", d.Name, "why", why)
		return nil, fs.ErrNotExist
	}
	if err := b.fits(ctx, made); err != nil {
		b.Lab.Failed(made.Name, err)
		b.Boots.Over(ip)
		return nil, err
	}
	return made, nil
}

// romPart is a file of a boot.
func (b *boards) romPart(ctx context.Context, made *netboot.Fetched, name string) (tftp.File, error) {
	switch name {
	case romConfig:
		own, err := b.readRomFile(ctx, made, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return tftp.File{}, err
		}
		return text(romSettings(made, own))
	case romCommandLine:
		consoles := "console=serial0,115200 console=tty1 "
		if made.Settings.Console != "" { // which its line has
			consoles = ""
		}
		return text([]byte(netboot.EachConsoleOnce(consoles+made.CommandLine) + "\n"))
	case romKernelFile:
		return b.romKernel(ctx, made)
	case romInitrdFile:
		b.Lab.Reached(ctx, made.Name, nodes.StepKernel) // nothing follows it
		return b.romInitrd(ctx, made)
	}
	return b.romFile(ctx, made, name)
}

// ours are settings of config.txt that say what is booted.
var ours = []string{"kernel", "initramfs", "ramfsfile", "ramfsaddr", "auto_initramfs", "cmdline", "os_prefix", "arm_64bit"}

// romSettings is config.txt: what the image says in its own, but for what is booted.
func romSettings(made *netboot.Fetched, own []byte) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "# for this boot of %s, with what its image has in config.txt\n", made.Name)
	for line := range strings.Lines(string(own)) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		key, _, _ = strings.Cut(key, " ")
		if !slices.Contains(ours, key) {
			s.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	wide := 0
	if made.Arch == "arm64" {
		wide = 1
	}
	fmt.Fprintf(&s, "[all]\narm_64bit=%d\nkernel=%s\ninitramfs %s followkernel\ncmdline=%s\nenable_uart=1\n", wide, romKernelFile, romInitrdFile, romCommandLine)
	return []byte(s.String())
}

// romConfigLimit is how many bytes of a config.txt are read.
const romConfigLimit = 64 << 10

// readRomFile reads a small file of an image.
func (b *boards) readRomFile(ctx context.Context, made *netboot.Fetched, name string) ([]byte, error) {
	f, err := b.romFile(ctx, made, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, min(f.Size, romConfigLimit)))
}

// romFile is a file of the image of a boot, or of the one that lends it its kernel, or
// else of the one that lends firmware.
func (b *boards) romFile(ctx context.Context, made *netboot.Fetched, name string) (tftp.File, error) {
	dirs := []string{"boot/firmware", path.Join("boot", string(made.Model)), "boot", "usr/lib/raspi-firmware"}
	for _, tree := range made.Trees {
		if f, err := findIn(tree, dirs, name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	if strings.HasSuffix(name, ".dtb") { // that of the kernel goes before one that is lent
		p, err := made.Plan()
		if err != nil {
			return tftp.File{}, err
		}
		tree, err := p.DeviceTree("", path.Join("broadcom", path.Base(name)))
		if !errors.Is(err, fs.ErrNotExist) {
			f, bad := text(tree)
			return f, errors.Join(err, bad)
		}
	}
	lender, found, err := b.firmwareImage(ctx)
	if err != nil {
		b.Boots.Complain(made.IP, "a board gets no firmware that its image does not have", "node", made.Name, "err", err)
	}
	if err != nil || !found {
		return tftp.File{}, fs.ErrNotExist
	}
	tree, _, release, err := b.Library.Hold(ctx, lender.Digest)
	if err != nil {
		return tftp.File{}, err
	}
	f, err := findIn(tree, dirs, name)
	if err != nil {
		release()
		return f, err
	}
	f.Closer = closers{f.Closer, release}
	return f, nil
}

// closers closes a file, and lets what it is of go.
type closers struct {
	io.Closer
	release func()
}

func (c closers) Close() error {
	defer c.release()
	return c.Closer.Close()
}

// firmwareImage is the image that lends boards the firmware which theirs does not have,
// false when there is none.
func (s *Server) firmwareImage(ctx context.Context) (img images.Image, found bool, err error) {
	s.mu.Lock()
	name := s.firmware
	s.mu.Unlock()
	if name == "" {
		return img, false, nil
	}
	err = s.Store.View(ctx, func(r state.Reader) (err error) {
		img, found, err = images.Lender(r, images.DefaultRef("").User, name)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("the image %q, which [boot] firmware names, is not here", name)
	}
	return img, found, err
}

// findIn looks for a regular file in directories, one after the other. Upper and lower case
// are the same there, as in the file systems that ROMs read; a name that is as asked for
// goes before others.
func findIn(tree *content.Tree, dirs []string, name string) (tftp.File, error) {
	if !fs.ValidPath(name) {
		return tftp.File{}, fs.ErrNotExist
	}
	for _, dir := range dirs {
		found, ok := spelled(tree, dir, name)
		if !ok {
			continue
		}
		f, err := openAt(tree, found)
		if errors.Is(err, errIrregular) {
			continue
		}
		return f, err
	}
	return tftp.File{}, fs.ErrNotExist
}

// errIrregular says that something is no file that can be read at any place.
var errIrregular = errors.New("it is no regular file")

// openAt opens a regular file.
func openAt(tree fs.FS, name string) (tftp.File, error) {
	f, err := tree.Open(name)
	if err != nil {
		return tftp.File{}, err
	}
	i, err := f.Stat()
	reader, is := f.(io.ReaderAt)
	if err != nil || !is || !i.Mode().IsRegular() {
		f.Close()
		return tftp.File{}, cmp.Or(err, errIrregular)
	}
	return tftp.File{ReaderAt: reader, Closer: f, Size: i.Size()}, nil
}

// spelled returns the path of a file in a directory, as it is spelled there.
func spelled(tree *content.Tree, dir, name string) (string, bool) {
	if full := path.Join(dir, name); isThere(tree, full) {
		return full, true
	}
	for elem := range strings.SplitSeq(name, "/") {
		all, err := tree.ReadDir(dir)
		if err != nil {
			return "", false
		}
		i := slices.IndexFunc(all, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), elem) })
		if i < 0 {
			return "", false
		}
		dir = path.Join(dir, all[i].Name())
	}
	return dir, isThere(tree, dir)
}

func isThere(tree *content.Tree, name string) bool {
	_, err := tree.Stat(name)
	return err == nil
}

// text is a file with a content.
func text(b []byte) (tftp.File, error) {
	return tftp.File{ReaderAt: bytes.NewReader(b), Closer: io.NopCloser(nil), Size: int64(len(b))}, nil
}
