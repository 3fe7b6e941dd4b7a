package sim

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"walt/pause"
)

const helpText = `This is a simulated node: its files are those of the image that it booted, and
it has a POSIX shell. Files can be changed (64 MiB of changes); a reboot forgets
that. No program of the image runs; these are here instead:
  . : [ basename cat cd chmod clear command cp date dirname echo env eval exec
  exit export false grep head help hostname id ln local logger ls mkdir mv
  printf ps pwd read readonly reboot return rm rmdir seq set sh shift sleep sort
  tail tee test touch true type uname unset uptime wait wc whoami yes, and break
  and continue
`

// builtin is a command that acts on the shell itself, so that no path leads to it.
func builtin(name string) func(*shell, context.Context, []string) int {
	switch name {
	case ".":
		return (*shell).source
	case ":":
		return ends(0)
	case "break":
		return func(sh *shell, _ context.Context, args []string) int { return sh.leave(breaks, name, args) }
	case "cd":
		return (*shell).cd
	case "command":
		return (*shell).otherwise
	case "continue":
		return func(sh *shell, _ context.Context, args []string) int { return sh.leave(continues, name, args) }
	case "eval":
		return func(sh *shell, ctx context.Context, args []string) int {
			sh.status = 0
			sh.script(ctx, strings.Join(args, " "))
			return sh.status
		}
	case "exec":
		return (*shell).exec
	case "exit":
		return (*shell).exit
	case "export", "local", "readonly":
		return func(sh *shell, _ context.Context, args []string) int { return sh.declare(name, args) }
	case "read":
		return (*shell).read
	case "return":
		return func(sh *shell, ctx context.Context, args []string) int {
			status := sh.exit(ctx, args)
			if sh.leaves == exits {
				sh.leaves = returns
			}
			return status
		}
	case "set":
		return (*shell).options
	case "shift":
		return (*shell).shift
	case "type":
		return (*shell).types
	case "unset":
		return func(sh *shell, _ context.Context, args []string) int {
			for _, name := range args {
				sh.unset(name)
				delete(sh.funcs, name)
			}
			return 0
		}
	case "wait":
		return (*shell).wait
	}
	return nil
}

// program returns the program of that name, or nil.
func program(name string) func(*shell, context.Context, []string) int {
	switch name {
	case "[", "test":
		return func(sh *shell, _ context.Context, args []string) int { return sh.test(name, args) }
	case "basename":
		return func(sh *shell, _ context.Context, args []string) int { return sh.part(name, path.Base, args) }
	case "cat":
		return (*shell).cat
	case "chmod":
		return (*shell).chmod
	case "clear":
		return says(func(*shell) string { return "\x1b[H\x1b[2J" })
	case "cp":
		return (*shell).cp
	case "date":
		return says(func(sh *shell) string { return sh.node.now().UTC().Format(time.UnixDate) + "\n" })
	case "dirname":
		return func(sh *shell, _ context.Context, args []string) int { return sh.part(name, path.Dir, args) }
	case "echo":
		return (*shell).echo
	case "env":
		return says(func(sh *shell) string { return strings.Join(append(sh.environ(), ""), "\n") })
	case "false":
		return ends(1)
	case "grep":
		return (*shell).grep
	case "head":
		return (*shell).head
	case "help":
		return says(func(*shell) string { return helpText })
	case "hostname":
		return says(func(sh *shell) string { return string(sh.node.name) + "\n" })
	case "id":
		return says(func(*shell) string { return "uid=0(root) gid=0(root) groups=0(root)\n" })
	case "ln":
		return (*shell).ln
	case "logger":
		return (*shell).logger
	case "ls":
		return (*shell).ls
	case "mkdir":
		return (*shell).mkdir
	case "mv":
		return (*shell).mv
	case "printf":
		return (*shell).printf
	case "ps":
		return says(func(sh *shell) string { return fmt.Sprintf("  PID COMMAND\n    1 init\n%5d sh\n", sh.pid) })
	case "pwd":
		return says(func(sh *shell) string { return sh.dir + "\n" })
	case "reboot":
		return (*shell).reboot
	case "rm":
		return (*shell).rm
	case "rmdir":
		return (*shell).rmdir
	case "seq":
		return (*shell).seq
	case "sh":
		return (*shell).sh
	case "sleep":
		return (*shell).sleep
	case "sort":
		return (*shell).sort
	case "tail":
		return (*shell).tail
	case "tee":
		return (*shell).tee
	case "touch":
		return (*shell).touch
	case "true":
		return ends(0)
	case "uname":
		return (*shell).uname
	case "uptime":
		return says((*shell).uptime)
	case "wc":
		return (*shell).wc
	case "whoami":
		return says(func(*shell) string { return "root\n" })
	case "yes":
		return (*shell).yes
	}
	return nil
}

// program runs what is no function and returns its status.
func (sh *shell) program(ctx context.Context, args []string) int {
	name := args[0]
	run := builtin(name)
	if run == nil {
		run = program(name)
	}
	if run == nil && strings.Contains(name, "/") {
		info, err := sh.node.disk.stat(sh.abs(name), true)
		switch dir, base := path.Split(sh.abs(name)); {
		case slices.Contains([]string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"}, dir) && program(base) != nil:
			run = program(base)
		case err != nil:
		case info.IsDir() || info.mode&0o111 == 0:
			sh.complain("sh: %s: Permission denied", name)
			return statusNotRunnable
		default:
			run, args = (*shell).file, append([]string{""}, args...)
		}
	}
	if run == nil {
		sh.complain("sh: %s: command not found", name)
		return statusNotFound
	}
	return run(sh, ctx, args[1:])
}

func ends(status int) func(*shell, context.Context, []string) int {
	return func(*shell, context.Context, []string) int { return status }
}

// says makes a command of a text, one that takes no arguments.
func says(text func(*shell) string) func(*shell, context.Context, []string) int {
	return func(sh *shell, _ context.Context, _ []string) int {
		sh.print(text(sh))
		return 0
	}
}

// print writes to the output. An error means that the client is gone, which
// ends the session; the writer keeps it for those that would write on and on.
func (sh *shell) print(text string) { _, _ = sh.out.WriteString(text) }

// flags splits arguments into the letters of options and the rest. It
// complains of letters that are not among the allowed ones.
func (sh *shell) flags(name, allowed string, args []string) (letters string, rest []string, ok bool) {
	for i, arg := range args {
		if arg == "--" {
			return letters, append(rest, args[i+1:]...), true
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		for _, r := range arg[1:] {
			if !strings.ContainsRune(allowed, r) {
				sh.complain("%s: invalid option -- '%c'", name, r)
				return "", nil, false
			}
		}
		letters += arg[1:]
	}
	return letters, rest, true
}

// reboot ends the session; the machine boots again when the client was told so.
func (sh *shell) reboot(context.Context, []string) int {
	sh.print("The system is going down NOW!\n")
	sh.leaves = exits
	sh.reboots.Store(true)
	return 0
}

func (sh *shell) sleep(ctx context.Context, args []string) int {
	if len(args) == 0 {
		sh.complain("sleep: missing operand")
		return 1
	}
	var whole time.Duration
	for _, arg := range args {
		if strings.TrimRight(arg, "0123456789.") == "" {
			arg += "s"
		}
		d, err := time.ParseDuration(arg)
		if err != nil || d < 0 {
			sh.complain("sleep: invalid number '%s'", arg)
			return 1
		}
		whole += d
	}
	// It is cut short when the session ends, or by Ctrl-C: run says so.
	_ = pause.For(ctx, whole)
	return 0
}

func (sh *shell) uname(_ context.Context, args []string) int {
	letters, _, ok := sh.flags("uname", "asnrvmo", args)
	if !ok {
		return 1
	}
	if letters == "" {
		letters = "s"
	}
	var words []string
	for _, f := range []struct{ letter, word string }{
		{"s", "Linux"}, {"n", string(sh.node.name)}, {"r", "0.0.0-simulated"}, {"v", "#1"}, {"m", "simulated"}, {"o", "GNU/Linux"},
	} {
		if strings.ContainsAny(letters, "a"+f.letter) {
			words = append(words, f.word)
		}
	}
	sh.print(strings.Join(words, " ") + "\n")
	return 0
}

// uptime tells the time of day (UTC) and how long the machine has been up, as
// in " 10:43:01 up 2 days, 3:05,  load average: 0.00, 0.00, 0.00".
func (sh *shell) uptime() string {
	now := sh.node.now()
	up := now.Sub(sh.node.booted)
	days, hours, minutes := int(up.Hours())/24, int(up.Hours())%24, int(up.Minutes())%60
	var s strings.Builder
	s.WriteString(now.UTC().Format(" 15:04:05 up "))
	switch {
	case days == 1:
		s.WriteString("1 day, ")
	case days > 1:
		fmt.Fprintf(&s, "%d days, ", days)
	}
	if hours > 0 {
		fmt.Fprintf(&s, "%2d:%02d", hours, minutes)
	} else {
		fmt.Fprintf(&s, "%d min", minutes)
	}
	s.WriteString(",  load average: 0.00, 0.00, 0.00\n")
	return s.String()
}
