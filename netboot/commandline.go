package netboot

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"walt/netboot/instructions"
)

// commandLine is what the kernel of a boot is told, with more from the label of its image. Of
// what is there twice the last one counts: what the node is set to comes after the label.
func (b *boot) commandLine(label string) string {
	m := b.machine
	words := []string{m.Params}
	switch {
	case m.Virtual:
	case m.Settings.Console != "":
		words = []string{"console=tty0", m.Params}
	case b.arch() == "amd64":
		words = []string{pcConsoles, m.Params}
	}
	words = append(words, fmt.Sprintf("%s=%s %s=%s", instructions.ParamMAC, m.MAC, instructions.ParamIP, netip.PrefixFrom(m.IP, m.Net.Bits())))
	if m.Router.IsValid() {
		words = append(words, fmt.Sprintf("%s=%s", instructions.ParamGW, m.Router))
	}
	words = append(words, fmt.Sprintf("%s=%s", instructions.ParamBoot, b.url("boot")))
	if b.permissive {
		words = append(words, "enforcing=0")
	}
	if b.cloudInit {
		words = append(words, cloudInitParams)
	}
	words = append(words, label, m.Settings.BootArgs)
	if m.Settings.Console != "" {
		words = append(words, "console="+m.Settings.Console)
	}
	return eachConsoleOnce(strings.Join(words, " "))
}

// eachConsoleOnce is a command line in which each console is named once, where it was last:
// the kernel writes to all of them, and programs to the last one.
func eachConsoleOnce(line string) string {
	var words []string
	named := map[string]bool{}
	for _, word := range slices.Backward(strings.Fields(line)) {
		if console, is := strings.CutPrefix(word, "console="); is {
			device, _, _ := strings.Cut(console, ",")
			if named[device] {
				continue
			}
			named[device] = true
		}
		words = append(words, word)
	}
	slices.Reverse(words)
	return strings.Join(words, " ")
}
