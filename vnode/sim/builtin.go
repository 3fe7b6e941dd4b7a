package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// source runs a file in this shell.
func (sh *shell) source(ctx context.Context, args []string) int {
	if len(args) == 0 {
		sh.complain("sh: .: filename argument required")
		return statusSyntax
	}
	text, err := sh.text(args[0])
	if err != nil {
		sh.complain("sh: .: can't open '%s': %s", args[0], sh.reason(err))
		return statusSyntax
	}
	sh.status = 0
	sh.script(ctx, text)
	if sh.leaves == returns {
		sh.leaves = stays
	}
	return sh.status
}

// text reads a script.
func (sh *shell) text(name string) (string, error) {
	f, err := sh.reader(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longest+1))
	return string(text), err
}

// file runs a file as a script in a shell of its own.
func (sh *shell) file(ctx context.Context, args []string) int {
	name := args[0]
	text, err := sh.text(name)
	if err != nil {
		sh.complain("sh: can't open '%s': %s", name, sh.reason(err))
		return statusNotFound
	}
	first, _, _ := strings.Cut(text, "\n")
	if strings.IndexByte(text, 0) >= 0 || strings.HasPrefix(first, "#!") && !strings.HasSuffix(strings.Fields(first + " -")[0], "sh") {
		sh.complain("sh: %s: cannot execute: a simulated node runs scripts of sh only", name)
		return statusNotRunnable
	}
	sub := sh.clone()
	sub.funcs, sub.params, sub.status = nil, args[1:], 0
	sub.script(ctx, text)
	sub.flush("sh")
	return sub.status
}

// sh is sh -c COMMAND, sh FILE, or sh with its commands as input.
func (sh *shell) sh(ctx context.Context, args []string) int {
	switch {
	case len(args) == 0:
		sub := sh.clone()
		sub.session, sub.funcs, sub.params, sub.status = &session{}, nil, nil, 0
		sub.tty = sh.tty
		sub.guard(func() { sub.interact(ctx) })
		sub.all.Wait()
		return sub.status
	case args[0] != "-c":
		return sh.file(ctx, args)
	case len(args) == 1:
		sh.complain("sh: -c requires an argument")
		return statusSyntax
	}
	sub := sh.clone()
	sub.funcs, sub.params, sub.status = nil, args[min(3, len(args)):], 0
	sub.script(ctx, args[1])
	sub.flush("sh")
	return sub.status
}

// otherwise is command: it leaves functions out. With -v it tells what a name is.
func (sh *shell) otherwise(ctx context.Context, args []string) int {
	if len(args) > 0 && args[0] == "-v" {
		status := 0
		for _, name := range args[1:] {
			if builtin(name) == nil && program(name) == nil && sh.funcs[name] == nil {
				status = statusNotFound
				continue
			}
			sh.print(name + "\n")
		}
		return status
	}
	if len(args) == 0 {
		return 0
	}
	return sh.program(ctx, args)
}

func (sh *shell) types(_ context.Context, args []string) int {
	status := 0
	for _, name := range args {
		switch {
		case sh.funcs[name] != nil:
			sh.print(name + " is a function\n")
		case builtin(name) != nil || program(name) != nil:
			sh.print(name + " is a shell builtin\n")
		default:
			sh.complain("%s: not found", name)
			status = statusNotFound
		}
	}
	return status
}

func (sh *shell) cd(_ context.Context, args []string) int {
	to := sh.node.home()
	if len(args) > 0 {
		to = sh.abs(args[0])
		if args[0] == "-" {
			to = sh.abs(sh.vars["OLDPWD"].value)
			sh.print(to + "\n")
		}
	}
	info, err := sh.node.disk.stat(to, true)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		sh.complain("sh: cd: can't cd to %s: %s", to, sh.reason(err))
		return 1
	}
	sh.must(sh.set("OLDPWD", sh.dir))
	sh.dir = to
	return 0
}

// exec runs a command in place of the shell.
func (sh *shell) exec(ctx context.Context, args []string) int {
	if len(args) == 0 {
		sh.complain("sh: exec: redirections of the shell itself are not supported")
		return 1
	}
	status := sh.program(ctx, args)
	sh.leaves = exits
	return status
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
	sh.leaves = exits
	return status
}

// leave is break and continue. Outside of a loop they do nothing.
func (sh *shell) leave(how leaving, name string, args []string) int {
	levels := 1
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			sh.complain("sh: %s: Illegal number: %s", name, args[0])
			return statusSyntax
		}
		levels = n
	}
	if sh.loops > 0 {
		sh.leaves, sh.levels = how, min(levels, sh.loops)
	}
	return 0
}

// declare is export, readonly and local; a local variable is like any other.
func (sh *shell) declare(name string, args []string) int {
	for _, arg := range args {
		key, value, given := strings.Cut(arg, "=")
		if key == "-p" {
			continue
		}
		if !given {
			value = sh.vars[key].value
		}
		if err := sh.set(key, value); err != nil {
			sh.complain("sh: %s: %v", name, err)
			return 1
		}
		x := sh.vars[key]
		x.exported = x.exported || name == "export"
		x.readonly = x.readonly || name == "readonly"
		sh.vars[key] = x
	}
	if len(args) == 0 && name == "export" {
		for _, v := range sh.environ() {
			sh.print("export " + v + "\n")
		}
	}
	return 0
}

// read reads a line into variables, the last of which gets the rest of it.
func (sh *shell) read(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("read", "r", args)
	if !ok {
		return statusSyntax
	}
	line, err := sh.line(ctx)
	if errors.Is(err, errInterrupted) {
		return statusInterrupted
	}
	status := oneIf(err != nil)
	if line = strings.TrimSuffix(line, "\n"); letters == "" {
		line = strings.ReplaceAll(line, "\\", "")
	}
	if len(names) == 0 {
		names = []string{"REPLY"}
	}
	blank := " \t\n"
	if ifs, set := sh.vars["IFS"]; set {
		blank = ifs.value
	}
	for i, name := range names {
		line = strings.TrimLeft(line, blank)
		word := strings.TrimRight(line, blank)
		if at := strings.IndexAny(line, blank); i < len(names)-1 && at >= 0 {
			word, line = line[:at], line[at+1:]
		} else {
			line = ""
		}
		sh.must(sh.set(name, word))
	}
	return status
}

// letters is what $- tells.
func (sh *shell) letters() string {
	return strings.Repeat("e", oneIf(sh.errexit)) + strings.Repeat("u", oneIf(sh.nounset))
}

// options is set: the options -e and -u, and parameters.
func (sh *shell) options(_ context.Context, args []string) int {
	for i, arg := range args {
		if arg == "--" || arg == "" || arg[0] != '-' && arg[0] != '+' {
			sh.params = args[i+oneIf(arg == "--"):]
			return 0
		}
		for _, letter := range arg[1:] {
			switch letter {
			case 'e':
				sh.errexit = arg[0] == '-'
			case 'u':
				sh.nounset = arg[0] == '-'
			default:
				sh.complain("sh: set: Illegal option %c%c", arg[0], letter)
				return statusSyntax
			}
		}
	}
	if len(args) == 0 {
		for _, name := range slices.Sorted(maps.Keys(sh.vars)) {
			sh.print(name + "=" + sh.vars[name].value + "\n")
		}
	}
	return 0
}

func (sh *shell) shift(_ context.Context, args []string) int {
	n := 1
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 0 {
			sh.complain("sh: shift: Illegal number: %s", args[0])
			return statusSyntax
		}
	}
	if n > len(sh.params) {
		sh.complain("sh: shift: can't shift that many")
		return 1
	}
	sh.params = sh.params[n:]
	return 0
}

// wait waits for jobs, all or those whose processes are given.
func (sh *shell) wait(ctx context.Context, args []string) int {
	status := 0
	for _, j := range sh.jobs {
		if len(args) > 0 && args[0] != strconv.Itoa(j.pid) {
			continue
		}
		select {
		case <-j.done:
			if len(args) > 0 {
				status = j.status
			}
		case <-ctx.Done():
			return statusInterrupted
		}
	}
	if len(args) == 0 {
		sh.jobs = nil
	}
	return status
}

// pour copies to the output as fast as it is taken. It returns the errors of
// the source only.
func (sh *shell) pour(ctx context.Context, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		sh.works(ctx)
		n, err := from.Read(buf)
		_, gone := sh.out.Write(buf[:n])
		if gone == nil && (n < len(buf) || bytes.IndexByte(buf[:n], '\n') >= 0) {
			gone = sh.out.Flush()
		}
		if gone != nil || errors.Is(err, io.EOF) || errors.Is(err, errInterrupted) || errors.Is(err, io.ErrClosedPipe) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
