package sim

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// forEach does something for each of the names that were given to a program, and
// complains of what failed.
func (sh *shell) forEach(ctx context.Context, program, doing string, names []string, do func(name string) error) int {
	if len(names) == 0 {
		sh.complain("%s: missing operand", program)
		return 1
	}
	status := 0
	for _, name := range names {
		if ctx.Err() != nil {
			return statusInterrupted
		}
		if err := do(name); err != nil {
			sh.complain("%s: can't %s '%s': %s", program, doing, name, sh.reason(err))
			status = 1
		}
	}
	return status
}

func (sh *shell) mkdir(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("mkdir", "p", args)
	if !ok {
		return 1
	}
	return sh.forEach(ctx, "mkdir", "create directory", names, func(name string) error {
		name = sh.abs(name)
		if letters == "" {
			return sh.node.disk.mkdir(name)
		}
		for i := 1; i <= len(name); i++ {
			if i < len(name) && name[i] != '/' {
				continue
			}
			if s, err := sh.node.disk.stat(name[:i], true); err == nil && s.IsDir() {
				continue
			}
			if err := sh.node.disk.mkdir(name[:i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (sh *shell) rm(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("rm", "rRf", args)
	if !ok {
		return 1
	}
	force, all := strings.Contains(letters, "f"), strings.ContainsAny(letters, "rR")
	if force && len(names) == 0 {
		return 0
	}
	return sh.forEach(ctx, "rm", "remove", names, func(name string) error {
		s, err := sh.node.disk.stat(sh.abs(name), false)
		switch {
		case err != nil:
			if force && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		case s.IsDir() && !all:
			return syscall.EISDIR
		}
		return sh.node.disk.remove(sh.abs(name), all)
	})
}

func (sh *shell) rmdir(ctx context.Context, args []string) int {
	return sh.forEach(ctx, "rmdir", "remove", args, func(name string) error {
		s, err := sh.node.disk.stat(sh.abs(name), false)
		if err == nil && !s.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return err
		}
		return sh.node.disk.remove(sh.abs(name), false)
	})
}

func (sh *shell) touch(ctx context.Context, args []string) int {
	return sh.forEach(ctx, "touch", "touch", args, func(name string) error {
		now := sh.node.now()
		err := sh.node.disk.change(sh.abs(name), func(s *stat) { s.mtime = now })
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := sh.writer(name, true)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func (sh *shell) chmod(ctx context.Context, args []string) int {
	if len(args) < 2 {
		sh.complain("chmod: missing operand")
		return 1
	}
	set, ok := modes(args[0])
	if !ok {
		sh.complain("chmod: invalid mode '%s'", args[0])
		return 1
	}
	return sh.forEach(ctx, "chmod", "change", args[1:], func(name string) error {
		return sh.node.disk.change(sh.abs(name), func(s *stat) { s.mode = s.mode&^0o777 | set(s.mode.Perm()) })
	})
}

// modes is what a mode like 755 or u+x makes of another.
func modes(text string) (func(fs.FileMode) fs.FileMode, bool) {
	if n, err := strconv.ParseUint(text, 8, 16); err == nil && n <= 0o777 {
		return func(fs.FileMode) fs.FileMode { return fs.FileMode(n) }, true
	}
	at := strings.IndexAny(text, "+-=")
	if at < 0 || strings.Trim(text[:at], "ugoa") != "" || strings.Trim(text[at+1:], "rwx") != "" {
		return nil, false
	}
	who, bits := fs.FileMode(0), fs.FileMode(0)
	for i, letter := range "ogu" {
		if at == 0 || strings.ContainsRune(text[:at], letter) || strings.Contains(text[:at], "a") {
			who |= 0o7 << (3 * i)
		}
	}
	for i, letter := range "xwr" {
		if strings.ContainsRune(text[at:], letter) {
			bits |= 0o111 << i
		}
	}
	return func(m fs.FileMode) fs.FileMode {
		switch text[at] {
		case '+':
			return m | who&bits
		case '-':
			return m &^ (who & bits)
		}
		return m&^who | who&bits
	}, true
}

func (sh *shell) ln(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("ln", "sf", args)
	if !ok {
		return 1
	}
	if !strings.Contains(letters, "s") || len(names) != 2 {
		sh.complain("ln: usage: ln -s TARGET NAME (other links are not supported)")
		return 1
	}
	return sh.into(ctx, "ln", names, func(to, name string) error {
		if strings.Contains(letters, "f") {
			if s, err := sh.node.disk.stat(name, false); err == nil && !s.IsDir() {
				if err := sh.node.disk.remove(name, false); err != nil {
					return err
				}
			}
		}
		return sh.node.disk.symlink(to, name)
	})
}

func (sh *shell) mv(ctx context.Context, args []string) int {
	_, names, ok := sh.flags("mv", "f", args)
	if !ok {
		return 1
	}
	return sh.into(ctx, "mv", names, func(from, to string) error { return sh.node.disk.rename(sh.abs(from), to) })
}

func (sh *shell) cp(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("cp", "rRaf", args)
	if !ok {
		return 1
	}
	return sh.into(ctx, "cp", names, func(from, to string) error {
		if from = sh.abs(from); (to + "/")[:min(len(to)+1, len(from)+1)] == from+"/" {
			return syscall.EINVAL // onto itself, or into itself
		}
		return sh.copy(ctx, from, to, strings.ContainsAny(letters, "rRa"), true)
	})
}

// into does something with each name but the last and the absolute path that it
// is to get: the last name, or, if that is a directory, one in it.
func (sh *shell) into(ctx context.Context, program string, names []string, do func(from, to string) error) int {
	if len(names) < 2 {
		sh.complain("%s: missing operand", program)
		return 1
	}
	names, last := names[:len(names)-1], sh.abs(names[len(names)-1])
	s, err := sh.node.disk.stat(last, true)
	dir := err == nil && s.IsDir()
	if len(names) > 1 && !dir {
		sh.complain("%s: %s is not a directory", program, last)
		return 1
	}
	return sh.forEach(ctx, program, map[string]string{"mv": "rename", "cp": "copy", "ln": "link"}[program], names, func(name string) error {
		if dir {
			return do(name, path.Join(last, path.Base(sh.abs(name))))
		}
		return do(name, last)
	})
}

// copy copies a file, or a directory with all that is in it.
func (sh *shell) copy(ctx context.Context, from, to string, all, follow bool) error {
	if sh.works(ctx); ctx.Err() != nil {
		return syscall.EINTR
	}
	s, err := sh.node.disk.stat(from, follow)
	switch {
	case err != nil:
		return err
	case s.mode&fs.ModeSymlink != 0:
		target, err := sh.node.disk.readLink(from)
		if err != nil {
			return err
		}
		return sh.node.disk.symlink(target, to)
	case !s.IsDir():
		return sh.copyFile(ctx, from, to, s.mode.Perm())
	case !all:
		return syscall.EISDIR
	}
	if err := sh.node.disk.mkdir(to); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	kids, err := sh.node.disk.list(from)
	if err != nil {
		return err
	}
	for _, kid := range kids {
		if err := sh.copy(ctx, path.Join(from, kid.name), path.Join(to, kid.name), true, false); err != nil {
			return err
		}
	}
	return nil
}

func (sh *shell) copyFile(ctx context.Context, from, to string, mode fs.FileMode) error {
	r, err := sh.reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := sh.writer(to, false)
	if err != nil {
		return err
	}
	defer w.Close()
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		sh.works(ctx)
		n, err := r.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return sh.node.disk.change(to, func(s *stat) { s.mode |= mode & 0o111 })
		}
		if err != nil {
			return err
		}
	}
	return syscall.EINTR
}

// tee copies its input to the output and to files.
func (sh *shell) tee(ctx context.Context, args []string) int {
	letters, names, ok := sh.flags("tee", "a", args)
	if !ok {
		return 1
	}
	to := []io.Writer{sh.out}
	status := 0
	for _, name := range names {
		f, err := sh.writer(name, letters != "")
		if err != nil {
			sh.complain("tee: can't open '%s': %s", name, sh.reason(err))
			status = 1
			continue
		}
		defer f.Close()
		to = append(to, f)
	}
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		sh.works(ctx)
		n, err := sh.in.Read(buf)
		for _, w := range to {
			if _, err := w.Write(buf[:n]); err != nil {
				sh.complain("tee: %s", sh.reason(err))
				return 1
			}
		}
		if err != nil || sh.out.Flush() != nil {
			break
		}
	}
	return status
}
