package boards

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/netboot"
	"walt/netboot/tftp"
	"walt/nodes"
	"walt/state"
)

// Firmware with Secure Boot starts nothing but what was signed by whom it trusts: a shim,
// which starts a loader, GRUB, which starts a kernel, if the distribution signed these that
// the shim is of. All three are sent as they are. Of GRUB's language see
// https://www.gnu.org/software/grub/manual/grub/

// shimFile is what firmware is told to load, and grubFile what the shim then asks for beside
// itself.
const shimFile, grubFile = "shimx64.efi", "grubx64.efi"

// signed are the loaders for firmware that may have Secure Boot, which a BIOS has not.
var signed = map[uint16]string{7: shimFile, 9: shimFile}

// signedFiles are where the packages of Debian and Ubuntu have these files.
var signedFiles = map[string]string{
	shimFile: "usr/lib/shim/shimx64.efi.signed",
	grubFile: "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
}

// unsignedHint is what to do where Secure Boot refuses something.
const unsignedHint = "have the image hold shim-signed and grub-efi-amd64-signed of the distribution that signed its kernel, or switch Secure Boot off: help show hardware"

// grubConfig is the last part of the name under which GRUB asks for its configuration; where
// that is depends on who built it. It names what GRUB asks for then, again and again, and what
// else when it did not start a kernel.
const grubConfig, grubAsks, grubFails = "grub.cfg", "walt.grub", "walt.grub.failed"

// signedFile is what firmware with Secure Boot asks for, and GRUB, which it begins with.
func (b *boards) signedFile(ip netip.Addr, mac ethernet.MAC, name string) (tftp.File, error) {
	switch {
	case path.Base(name) == grubConfig:
		return text([]byte(b.grubBegins()))
	case name == grubAsks, name == grubFails:
		script, err := b.grubScript(mac, ip, name == grubFails)
		if err != nil {
			return tftp.File{}, err
		}
		return text([]byte(script))
	case signedFiles[name] == "":
		return tftp.File{}, errOthers
	}
	ctx := context.Background() // nobody waits for it
	d, here, err := b.Lab.Device(ctx, mac)
	if err != nil || !here {
		return tftp.File{}, errors.Join(err, errOthers)
	}
	f, err := b.openSigned(ctx, d, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fault.Failedf("neither its image nor [network] loaders has what Secure Boot starts").WithHint("%s", unsignedHint)
	}
	return f, err
}

// openSigned opens one of the files for Secure Boot: that of the image whose kernel a node
// boots, since a shim knows the kernels of its own distribution; or else that in the
// directory of loaders.
func (b *boards) openSigned(ctx context.Context, d nodes.Device, name string) (tftp.File, error) {
	if d.Kind == nodes.Node {
		if f, err := b.openSignedOf(ctx, d, name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	f, err := os.Open(filepath.Join(b.Loaders, name))
	if err != nil {
		return tftp.File{}, err
	}
	return whole(f)
}

// openSignedOf opens that of the image, which has all of them or none.
func (b *boards) openSignedOf(ctx context.Context, d nodes.Device, name string) (tftp.File, error) {
	var img images.Image
	err := b.Store.View(ctx, func(r state.Reader) error {
		found, here, err := images.Find(r, d.Image)
		if img = found; err == nil && !here {
			err = fs.ErrNotExist
		}
		return err
	})
	if err != nil {
		return tftp.File{}, err
	}
	kernel, err := b.Boots.KernelOf(ctx, img, d.Model)
	if err != nil {
		return tftp.File{}, err
	}
	tree, _, release, err := b.Library.Hold(ctx, kernel)
	if err != nil {
		return tftp.File{}, err
	}
	var f tftp.File
	for _, each := range slices.Sorted(maps.Keys(signedFiles)) {
		dir, base := path.Split(signedFiles[each])
		one, bad := findIn(tree, []string{dir}, base)
		switch {
		case bad != nil:
			err = bad
		case each == name:
			f = one
		default:
			one.Close()
		}
	}
	if err != nil {
		if f.Closer != nil {
			f.Close()
		}
		release()
		return tftp.File{}, err
	}
	f.Closer = closers{f.Closer, release}
	return f, nil
}

// hasSigned reports whether there is something for Secure Boot that a device can load.
func (b *boards) hasSigned(ctx context.Context, d nodes.Device) bool {
	f, err := b.openSigned(ctx, d, shimFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			b.Log.Error("look for what Secure Boot starts", "device", d.Name, "err", err)
		}
		return false
	}
	f.Close()
	return true
}

// grubBegins is the configuration of GRUB. Of what serves files over the network all GRUBs that
// are signed have TFTP.
func (b *boards) grubBegins() string {
	return fmt.Sprintf(`set walt_ask=%[1]s
while true; do
	if source (tftp,%[2]s)/${walt_ask}; then true; else sleep %[3]d; fi
done
`, grubAsks, b.Segment.Server, waits)
}

// grubScript is what GRUB does: it boots what the node is to boot now, or shows why it cannot,
// and waits before it asks again.
func (b *boards) grubScript(mac ethernet.MAC, ip netip.Addr, fails bool) (string, error) {
	ctx := context.Background() // what is begun is made, whoever waits for it
	d, err := b.asks(ctx, mac)
	if err != nil {
		return "", err
	}
	b.heard(mac)
	b.Lab.Reached(ctx, d.Name, nodes.StepChained)
	if fails && d.Kind == nodes.Node {
		err := fault.Failedf("its loader did not start its kernel: Secure Boot?").WithHint("%s", unsignedHint)
		b.Lab.Failed(d.Name, err)
		return grubAgain(failed, err.Msg), nil
	}
	made, why, seconds := b.next(ctx, d, ip)
	if made == nil {
		return grubAgain(seconds, why), nil
	}
	return grubBoots(made), nil
}

// grubAgain is a script that shows why a device does not boot.
func grubAgain(seconds int, why string) string {
	return fmt.Sprintf("set walt_ask=%s\necho 'walt: %s; it asks again every %d s'\nsleep %d\n", grubAsks, shown(why), seconds, seconds)
}

// grubBoots is the script of a boot. When it fails, GRUB says so, and asks again.
func grubBoots(made *netboot.Fetched) string {
	var args strings.Builder
	for word := range strings.FieldsSeq(made.CommandLine) {
		args.WriteString(" '" + word + "'")
	}
	dir := fmt.Sprintf("(tftp,%s)/%s", made.Server, dirOf(made))
	return fmt.Sprintf(`set walt_ask=%[1]s
echo 'walt: %[2]s boots over the network'
if linux %[3]skernel%[4]s; then
	if initrd %[3]sinitrd; then boot; fi
fi
`, grubFails, made.Name, dir, args.String())
}
