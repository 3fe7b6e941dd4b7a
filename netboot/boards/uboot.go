package boards

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/netboot"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// U-Boot asks for a script by TFTP, or, before that or instead, for a configuration as
// extlinux has it. Both name what the board boots. See https://docs.u-boot.org, "U-Boot
// Standard Boot", and cmd/pxe.c and include/config_distro_bootcmd.h there.

// ubootScript is the script that U-Boot asks for by itself.
const ubootScript = "boot.scr.uimg"

// waltScript and waltIPXE are the scripts that SD cards and sticks of WalT ask for, with
// U-Boot and with iPXE.
const waltScript, waltIPXE = "start.uboot", "start.ipxe"

// ubootScripts are the names under which the script is asked for.
var ubootScripts = []string{ubootScript, "boot.scr", waltScript}

// today is the name of a file under which later cards and sticks of WalT ask for what the
// first of them called otherwise.
func today(name string) string {
	switch {
	case strings.HasPrefix(name, "boot/rpi-") && strings.HasSuffix(name, ".uboot"):
		return waltScript
	case name == "boot/pc-x86-64.ipxe":
		return waltIPXE
	}
	return name
}

// uboots are architectures of firmware, IANA's list, that are U-Boot: of ARM with 32 and 64
// bits. Which board that is they do not tell.
var uboots = []uint16{21, 22}

// isUBoot reports whether a client is U-Boot, as it tells.
func isUBoot(c dhcp.Client) bool {
	return strings.HasPrefix(c.Class, "U-Boot") || slices.ContainsFunc(c.Arch, func(a uint16) bool { return slices.Contains(uboots, a) })
}

// ubootFile is a file that U-Boot asks for: the script with which a boot begins, or a part
// of the boot that it began.
func (b *boards) ubootFile(ip netip.Addr, mac ethernet.MAC, name string) (tftp.File, error) {
	name = today(name)
	switch {
	case slices.Contains(ubootScripts, name):
		script, err := b.ubootAsks(mac, ip, name)
		if err != nil {
			return tftp.File{}, err
		}
		return text(script)
	case name == waltIPXE:
		return text(fmt.Appendf(nil, "#!ipxe\nchain --replace --autofree %s ||\n%s", b.scriptURL(), b.retry(waits, "it is not answered")))
	case name == "pxelinux.cfg/01-"+strings.ReplaceAll(string(mac), ":", "-"):
		return b.extlinux(mac, ip)
	case strings.HasPrefix(name, ubootDir):
		return b.ubootPart(mac, ip, strings.TrimPrefix(name, ubootDir))
	}
	return tftp.File{}, errOthers
}

// ubootAsks is the script that boots what the node is to boot now, or that shows why it
// cannot and asks again.
func (b *boards) ubootAsks(mac ethernet.MAC, ip netip.Addr, name string) ([]byte, error) {
	ctx := context.Background() // what is begun is made, whoever waits for it
	d, err := b.asks(ctx, mac)
	if err != nil {
		return nil, err
	}
	made, why, seconds := b.next(ctx, d, ip)
	if made != nil {
		kind := ""
		if kind, why = starts(made, b.kernelOf(ctx, made)); why == "" {
			return scriptImage(ubootBoots(made, name, kind)), nil
		}
		seconds = failed
	}
	return scriptImage(ubootAgain(name, seconds, why)), nil
}

// sendUBoot sends the script to one that asks for it by HTTP.
func (b *boards) sendUBoot(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return
	}
	ip := from.Addr().Unmap()
	mac, known := b.holder(ip)
	if !known {
		b.Boots.Refuse(w, r)
		return
	}
	script, err := b.ubootAsks(mac, ip, waltScript)
	if err != nil {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(script) // who does not hear it asks again
}

// asks is the device that asks what it boots. Where another server gives the addresses, this
// may be the first that is heard of it.
func (b *boards) asks(ctx context.Context, mac ethernet.MAC) (nodes.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, meetLimit)
	defer cancel()
	d, here, err := b.Lab.Device(ctx, mac)
	if err == nil && !here && b.DHCP != Full {
		d, err = b.Lab.Met(ctx, nodes.Arrival{MAC: mac})
		here = err == nil
	}
	if err == nil && (!here || d.Virtual()) {
		err = fs.ErrNotExist
	}
	return d, err
}

// ubootDir is where the parts of boots are, by the token of each.
const ubootDir = "walt/"

// dirOf is where those of a boot are.
func dirOf(made *netboot.Fetched) string { return ubootDir + made.Token + "/" }

// ubootPart is a part of the boot of the device at an address: TOKEN/kernel, initrd, or
// dtb/FILE.
func (b *boards) ubootPart(mac ethernet.MAC, ip netip.Addr, name string) (tftp.File, error) {
	token, part, _ := strings.Cut(name, "/")
	made := b.Boots.Fetched(mac)
	if made == nil || made.IP != ip || subtle.ConstantTimeCompare([]byte(made.Token), []byte(token)) != 1 {
		return tftp.File{}, fmt.Errorf("this is not of the boot of the device at %s", ip)
	}
	ctx := context.Background() // it is made for who asks again, too
	open := made.Kernel
	switch {
	case part == "kernel":
	case part == "initrd":
		b.Lab.Reached(ctx, made.Name, nodes.StepKernel) // nothing follows it
		open = made.Initrd
	case part == "dtb" || strings.HasPrefix(part, "dtb/"):
		p, err := made.Plan()
		if err != nil {
			return tftp.File{}, err
		}
		tree, err := p.DeviceTree(string(made.Model), strings.TrimPrefix(strings.TrimPrefix(part, "dtb"), "/"))
		if err != nil {
			return tftp.File{}, err
		}
		return text(tree)
	default:
		return tftp.File{}, fs.ErrNotExist
	}
	return b.bootFile(ctx, made, open)
}

// hasDeviceTrees reports whether there is a part of the boot that is a device tree.
func hasDeviceTrees(made *netboot.Fetched) bool {
	p, err := made.Plan()
	return err == nil && p.HasDeviceTrees(string(made.Model))
}

// kernelOf is what the kernel of a boot begins with; nil when that cannot be read.
func (b *boards) kernelOf(ctx context.Context, made *netboot.Fetched) []byte {
	f, err := made.Kernel(ctx)
	if err != nil {
		b.Log.Error("read the kernel of a boot", "node", made.Name, "err", err)
		return nil
	}
	defer f.Close()
	head := make([]byte, 64)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil
	}
	return head
}

// starts is the command of U-Boot for the kernel of a boot, which begins so, or why it has none.
func starts(made *netboot.Fetched, head []byte) (command, why string) {
	is := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	switch {
	case is(0x38, "ARM\x64"):
		return "booti", ""
	case is(0x24, "\x18\x28\x6f\x01"):
		return "bootz", ""
	case is(0, "\x27\x05\x19\x56"):
		return "bootm", ""
	case is(4, "zimg"):
		return "", "its kernel is compressed in a way that only UEFI knows"
	}
	return "", "its kernel for " + made.Arch + " is none that U-Boot starts"
}

// ubootBoots is the script of a boot. What the board has loaded before is in variables
// whose names are those of U-Boot's own scripts.
func ubootBoots(made *netboot.Fetched, name, command string) string {
	var s strings.Builder
	dir := dirOf(made)
	fmt.Fprintf(&s, "echo walt: %s boots over the network\n", made.Name)
	args := made.CommandLine
	raspberry := strings.HasPrefix(string(made.Model), "rpi-")
	if raspberry { // its network card has no address of its own
		args += " smsc95xx.macaddr=" + string(made.MAC)
	}
	fmt.Fprintf(&s, "setenv bootargs '%s'\n", args)
	if raspberry && name == waltScript {
		// U-Boot of WalT's cards has addresses with less room for each part.
		s.WriteString("setenv kernel_addr_r 0x00080000\nsetenv fdt_addr_r 0x02600000\nsetenv ramdisk_addr_r 0x02700000\n")
	}
	// The device tree is the board's own, unless the image has a better one.
	s.WriteString(`setenv walt_fdt ${fdtcontroladdr}
if test -n "${fdt_addr}"; then
	if fdt addr ${fdt_addr}; then setenv walt_fdt ${fdt_addr}; fi
fi
`)
	if hasDeviceTrees(made) {
		fmt.Fprintf(&s, `if test -n "${fdt_addr_r}"; then
	if tftpboot ${fdt_addr_r} %sdtb/${fdtfile}; then setenv walt_fdt ${fdt_addr_r}; fi
fi
`, dir)
	}
	ramdisk := "${ramdisk_addr_r}:${filesize}"
	fmt.Fprintf(&s, `if tftpboot ${kernel_addr_r} %[1]skernel && tftpboot ${ramdisk_addr_r} %[1]sinitrd; then
	%[2]s ${kernel_addr_r} %[3]s ${walt_fdt}
	echo walt: U-Boot did not start the kernel for %[4]s
fi
`, dir, command, ramdisk, made.Arch)
	return s.String() + ubootAgain(name, failed, "it did not boot")
}

// ubootAgain is a script that shows why a board does not boot, and asks again after some
// seconds. That goes round in the first of these scripts: the others end in it.
func ubootAgain(name string, seconds int, why string) string {
	return fmt.Sprintf(`echo "walt: %[1]s; it asks again every %[2]d s"
sleep %[2]d
if test -z "${walt_again}"; then
	setenv walt_again 1
	while true; do
		if tftpboot ${scriptaddr} %[3]s; then source ${scriptaddr}; else sleep %[2]d; fi
	done
fi
`, shown(why), seconds, name)
}

// scriptImage is a script in the form in which U-Boot loads it: a header of 64 bytes, and
// the sizes of all scripts in it, up to 0. See include/image.h there.
func scriptImage(script string) []byte {
	const magic, linux, arm64, kind = 0x27051956, 5, 22, 6
	be := binary.BigEndian
	data := be.AppendUint32(nil, uint32(len(script)))
	data = be.AppendUint32(data, 0)
	data = append(data, script...)
	h := make([]byte, 64)
	be.PutUint32(h, magic)
	be.PutUint32(h[12:], uint32(len(data)))
	be.PutUint32(h[24:], crc32.ChecksumIEEE(data))
	h[28], h[29], h[30] = linux, arm64, kind
	copy(h[32:], "walt")
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h)) // of the header without it
	return append(h, data...)
}
