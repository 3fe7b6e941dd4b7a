package initrd

import (
	"path"
	"slices"
	"strings"
)

// wanted are directories, below kernel/, of which all modules are packed: what may be
// between a machine and its network.
var wanted = []string{
	"drivers/net/ethernet/", "drivers/net/usb/", "drivers/net/phy/", "drivers/net/mdio/", "drivers/net/pcs/",
	"drivers/net/hyperv/", "drivers/net/vmxnet3/", "drivers/virtio/",
	"drivers/usb/host/", "drivers/usb/core/", "drivers/usb/common/",
}

// wantedOnBoards are more of them, for machines whose devices are not on a PCI bus
// that firmware prepared.
var wantedOnBoards = []string{
	"drivers/bus/", "drivers/clk/", "drivers/dma/", "drivers/firmware/", "drivers/gpio/", "drivers/i2c/busses/",
	"drivers/interconnect/", "drivers/mailbox/", "drivers/mfd/", "drivers/nvmem/", "drivers/pci/controller/",
	"drivers/phy/", "drivers/pinctrl/", "drivers/pmdomain/", "drivers/pwm/", "drivers/regulator/", "drivers/reset/",
	"drivers/rtc/", "drivers/soc/", "drivers/usb/chipidea/", "drivers/usb/dwc2/", "drivers/usb/dwc3/",
	"drivers/usb/musb/", "drivers/usb/phy/",
}

// wantedNames are the modules that are packed wherever they are.
var wantedNames = []string{
	"nfs", "nfsv3", "overlay", "af_packet", "unix", "virtio_net", "virtio_pci", "virtio_mmio", "virtio_rng",
	"xen_netfront", "hv_vmbus", "hid_hyperv", "i6300esb", "bcm2835_wdt", "rtc_cmos",
}

// unwanted are directories in those above that are of no use: the chips of switches,
// and cards that serve storage or compute and take megabytes.
var unwanted = []string{
	"drivers/net/ethernet/mellanox/mlxsw/", "drivers/net/ethernet/marvell/prestera/", "drivers/net/ethernet/netronome/",
	"drivers/net/ethernet/cavium/liquidio/", "drivers/net/ethernet/chelsio/inline_crypto/",
	"drivers/net/usb/hso", "drivers/net/usb/qmi_wwan", "drivers/net/usb/cdc_mbim", "drivers/net/usb/sierra_net",
	"drivers/net/usb/cdc-phonet",
}

// pick returns the modules for an initramfs, each behind those that it depends on.
func (m *modules) pick(arch string) []module {
	p := picker{set: m, done: map[int]bool{}, exact: map[string]string{}}
	for _, a := range m.aliases {
		if !strings.ContainsAny(a.pattern, "*?[") {
			p.exact[a.pattern] = a.name
		}
	}
	for i, one := range m.list {
		if isWanted(one, arch) {
			p.add(i)
		}
	}
	return p.order
}

func isWanted(m module, arch string) bool {
	if slices.Contains(wantedNames, m.name) {
		return true
	}
	within := func(dirs []string) bool {
		// Modules that were built apart are in updates/ or extra/, with or without the
		// directories that they have in the kernel.
		return slices.ContainsFunc(dirs, func(dir string) bool { return strings.Contains("/"+m.file, "/"+dir) })
	}
	board := arch != "amd64" && within(wantedOnBoards)
	return (board || within(wanted)) && !within(unwanted)
}

// picker adds modules and all that they want.
type picker struct {
	set   *modules
	done  map[int]bool
	exact map[string]string // aliases that are no patterns
	order []module
}

// add adds a module behind what it wants. Its stack is bounded: what modules want
// softly is added at the same depth, and dependencies are all in one line.
func (p *picker) add(first int) {
	for todo := []int{first}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p.done[i] {
			continue
		}
		one := p.set.list[i]
		for _, file := range slices.Backward(one.deps) {
			if dep, ok := p.set.byFile[file]; ok && !p.done[dep] && dep != i {
				p.done[dep] = true
				p.order = append(p.order, p.set.list[dep])
				todo = append(todo, p.softly(p.set.list[dep].name)...)
			}
		}
		p.done[i] = true
		p.order = append(p.order, one)
		todo = append(todo, p.softly(one.name)...)
	}
}

// softly returns the modules that a module wants, too, by name or by an alias.
func (p *picker) softly(name string) (found []int) {
	for _, other := range p.set.soft[name] {
		if real, ok := p.exact[other]; ok {
			other = real
		}
		if i, ok := p.set.byName[underscores(other)]; ok {
			found = append(found, i)
		}
	}
	return found
}

// texts returns modules.dep, modules.alias and modules.softdep for picked modules, which
// are uncompressed.
func (m *modules) texts(picked []module) map[string]string {
	var dep, al, soft strings.Builder
	has := map[string]bool{}
	for _, one := range picked {
		has[one.name] = true
		dep.WriteString(plainName(one.file) + ":")
		for _, file := range one.deps {
			dep.WriteString(" " + plainName(file))
		}
		dep.WriteString("\n")
		if more := m.soft[one.name]; len(more) > 0 {
			soft.WriteString("softdep " + one.name + " pre: " + strings.Join(more, " ") + "\n")
		}
	}
	for _, a := range m.aliases {
		if has[a.name] {
			al.WriteString("alias " + a.pattern + " " + a.name + "\n")
		}
	}
	return map[string]string{"modules.dep": dep.String(), "modules.alias": al.String(), "modules.softdep": soft.String()}
}

// plainName is the file of a module without the suffix of its compression.
func plainName(file string) string {
	if suffix := path.Ext(file); suffix != ".ko" {
		return strings.TrimSuffix(file, suffix)
	}
	return file
}
