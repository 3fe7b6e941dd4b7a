package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const helpText = `This is a simulated node: its files are those of the image that it booted, and
cannot be changed. It has these commands:
  cat cd echo exit false help hostname id ls pwd reboot sleep true uname uptime whoami
They can be joined by ; && and ||. There are no pipes, variables or globs.
`

// program returns the built-in command of that name, or nil.
func program(name string) func(sh *shell, ctx context.Context, args []string) int {
	switch name {
	case "cat":
		return (*shell).cat
	case "cd":
		return (*shell).cd
	case "echo":
		return (*shell).echo
	case "exit":
		return (*shell).exit
	case "false":
		return func(*shell, context.Context, []string) int { return 1 }
	case "help":
		return says(func(*shell) string { return helpText })
	case "hostname":
		return says(func(sh *shell) string { return string(sh.node.name) + "\n" })
	case "id":
		return says(func(*shell) string { return "uid=0(root) gid=0(root) groups=0(root)\n" })
	case "ls":
		return (*shell).ls
	case "pwd":
		return says(func(sh *shell) string { return sh.dir + "\n" })
	case "reboot":
		return (*shell).reboot
	case "sleep":
		return (*shell).sleep
	case "true", ":":
		return func(*shell, context.Context, []string) int { return 0 }
	case "uname":
		return (*shell).uname
	case "uptime":
		return says((*shell).uptime)
	case "whoami":
		return says(func(*shell) string { return "root\n" })
	case "chmod", "chown", "cp", "dd", "ln", "mkdir", "mv", "rm", "rmdir", "tee", "touch":
		return func(sh *shell, _ context.Context, args []string) int {
			sh.complain("%s: %s: %s", name, strings.Join(args[max(0, len(args)-1):], ""), sh.reason(syscall.EROFS))
			return 1
		}
	}
	return nil
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

// options splits arguments into the letters of options and the rest. It
// complains of letters that are not among the allowed ones.
func (sh *shell) options(name, allowed string, args []string) (letters string, rest []string, ok bool) {
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

func (sh *shell) cat(ctx context.Context, args []string) int {
	_, names, ok := sh.options("cat", "", args)
	if !ok {
		return 1
	}
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		if ctx.Err() != nil {
			return statusInterrupted
		}
		if err := sh.show(ctx, name); err != nil {
			sh.complain("cat: can't open '%s': %s", name, sh.reason(err))
			status = 1
		}
	}
	return status
}

// show copies a file, or the input for "-", to the output.
func (sh *shell) show(ctx context.Context, name string) error {
	if name == "-" {
		return sh.pour(ctx, sh.in)
	}
	name = inside(sh.abs(name))
	info, err := fs.Stat(sh.node.files, name)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return syscall.EISDIR
	case !info.Mode().IsRegular():
		return syscall.ENXIO // there is no device behind it
	}
	f, err := sh.node.files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return sh.pour(ctx, f)
}

// pour copies to the output as fast as the client takes it. It returns the
// errors of the source only.
func (sh *shell) pour(ctx context.Context, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		n, err := from.Read(buf)
		_, gone := sh.out.Write(buf[:n])
		if gone == nil {
			gone = sh.out.Flush()
		}
		if gone != nil || errors.Is(err, io.EOF) || errors.Is(err, errInterrupted) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (sh *shell) cd(_ context.Context, args []string) int {
	to := sh.node.home()
	if len(args) > 0 {
		to = sh.abs(args[0])
	}
	info, err := fs.Stat(sh.node.files, inside(to))
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		sh.complain("sh: cd: can't cd to %s: %s", to, sh.reason(err))
		return 1
	}
	sh.dir = to
	return 0
}

func (sh *shell) echo(_ context.Context, args []string) int {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	sh.print(strings.Join(args, " ") + end)
	return 0
}

func (sh *shell) exit(_ context.Context, args []string) int {
	status := sh.status
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 {
			sh.complain("sh: exit: Illegal number: %s", args[0])
			return statusSyntax
		}
		status = n & 0xff
	}
	sh.exits = true
	return status
}

// reboot ends the session; the machine boots again when the client was told so.
func (sh *shell) reboot(context.Context, []string) int {
	sh.print("The system is going down NOW!\n")
	sh.exits, sh.reboots = true, true
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
	_ = sleep(ctx, whole)
	return 0
}

func (sh *shell) uname(_ context.Context, args []string) int {
	letters, _, ok := sh.options("uname", "asnrvmo", args)
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
