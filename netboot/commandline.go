package netboot

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"walt/images"
	"walt/netboot/instructions"
)

// ModelBoot is what the kernels of all machines of a model are told.
type ModelBoot struct {
	Args    string // words, as images.ParseBootArgs has them; "" for none
	Console string // of boards and PCs, as in ttyS1,115200; "" where that is known
}

// SetModels says what is told to the kernels of machines of some models that start from now
// on.
func (s *Server) SetModels(all map[images.Model]ModelBoot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models = all
}

// ofModel is a machine with what those of its model are told; what it is set to itself comes
// last, or instead.
func (s *Server) ofModel(m Machine) Machine {
	s.mu.Lock()
	told := s.models[m.Model]
	s.mu.Unlock()
	m.Settings.BootArgs = strings.TrimSpace(told.Args + " " + m.Settings.BootArgs)
	if !m.Virtual {
		m.Settings.Console = cmp.Or(m.Settings.Console, told.Console)
	}
	return m
}

// pcConsoles are both on which PCs show what they do. Of boards the device tree tells where.
const pcConsoles = "console=ttyS0,115200 console=tty0"

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
	return EachConsoleOnce(strings.Join(words, " "))
}

// EachConsoleOnce is a command line in which each console is named once, where it was last:
// the kernel writes to all of them, and programs to the last one.
func EachConsoleOnce(line string) string {
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
