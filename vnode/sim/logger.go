package sim

import (
	"context"
	"io"
	"strings"
)

// logger says its arguments, or the lines of its input, to the server, as the program of
// that name does by syslog. Where to is the same for all nodes.
func (sh *shell) logger(ctx context.Context, args []string) int {
	const usage = "logger: usage: logger [-n SERVER] [-t TAG] [-p PRIORITY] [-dTis] [TEXT...]"
	stream := "root"
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		option := args[0]
		args = args[1:]
		switch {
		case option == "--":
		case strings.Trim(option[1:], "dTis") == "":
			continue
		case len(args) == 0 || len(option) != 2 || !strings.Contains("ntpP", option[1:]):
			sh.complain(usage)
			return 1
		default:
			if option == "-t" {
				stream = args[0]
			}
			args = args[1:]
			continue
		}
		break
	}
	say := func(line string) {
		if sh.node.says != nil {
			sh.node.says(ctx, sh.node.name, stream, line)
		}
	}
	if len(args) > 0 {
		say(strings.Join(args, " "))
		return 0
	}
	return sh.inputs(ctx, "logger", nil, func(_ string, r io.Reader) error {
		return sh.lines(ctx, r, func(line []byte) bool {
			say(strings.TrimSuffix(string(line), "\n"))
			return true
		})
	})
}
