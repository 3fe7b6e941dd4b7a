package images

import (
	"regexp"
	"strings"

	"walt/fault"
)

// BootArgsLabel is a label of images: more for the command line of the kernel with which
// machines boot them.
const BootArgsLabel = "walt.boot.args"

// bootArgsLimit is how many bytes of that there may be: some kernels take no more than
// 1,024 for all of it, and the server adds some 200.
const bootArgsLimit = 512

// ParseBootArgs checks words for the command line of a kernel, and returns them with a
// space between. Loaders read them as well: what has a meaning for one of these is not
// allowed, and nothing is that the server tells machines itself.
func ParseBootArgs(s string) (string, error) {
	words := strings.Fields(s)
	for _, w := range words {
		if i := strings.IndexFunc(w, func(r rune) bool { return !isBootArg(r) }); i >= 0 {
			return "", fault.Usagef("invalid words for the kernel: %.40q cannot be among them", string([]rune(w[i:])[0])).
				WithHint("they may have letters, digits and %s, as in: console=ttyS1,115200 quiet", bootArgMarks)
		}
		if strings.HasPrefix(w, "walt.") {
			return "", fault.Usagef("invalid words for the kernel: %.40q is told by the server", w).WithHint("leave out what begins with walt.")
		}
	}
	args := strings.Join(words, " ")
	if len(args) > bootArgsLimit {
		return "", fault.Usagef("invalid words for the kernel: they have %d characters, and may have %d", len(args), bootArgsLimit).
			WithHint("leave some out")
	}
	return args, nil
}

const bootArgMarks = "_-.,:=/+@%*"

func isBootArg(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(bootArgMarks, r)
}

// consoleForm is that of a console of Linux, with what its line is set to.
var consoleForm = regexp.MustCompile(`^tty[A-Za-z]{0,12}[0-9]{0,3}(,[0-9]{2,7}[noe]?[5-8]?)?$`)

// ParseConsole checks the form of a console of Linux, as in ttyS1,115200; "" is none.
func ParseConsole(s string) (string, error) {
	if s != "" && !consoleForm.MatchString(s) {
		return "", fault.Usagef("invalid console %.40q", s).WithHint("a console looks like ttyS1,115200 or ttyAMA0")
	}
	return s, nil
}
