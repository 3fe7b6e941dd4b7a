package program

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// mostLinks is how many links may lead to a program.
	mostLinks = 40
	// mostScripts is how many programs may be scripts, each the interpreter of the one before.
	mostScripts = 5
	// mostOfLine is how much of the first line of a script Linux looks at.
	mostOfLine = 256
)

// Check returns an error unless nobody but root and the user who runs the server could have
// another program run: it, and all folders and links that lead to it, are theirs, and others
// cannot write them. So are those of the interpreter of a script; of one that is run by
// /usr/bin/env, that is env.
func Check(path string) error { return check(path, mostScripts) }

// check is Check of a program that may be a script, if scripts is not 0.
func check(path string, scripts int) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is no absolute path; want one, as in /usr/local/libexec/usbpower", path)
	}
	at, links := "", 0
	var mode fs.FileMode
	for left := strings.Split(path, "/"); len(left) > 0; {
		at, left = filepath.Join("/", at, left[0]), left[1:]
		info, err := os.Lstat(at)
		if err != nil {
			return fmt.Errorf("cannot use the program: %w", err)
		}
		if err := own(at, info); err != nil {
			return err
		}
		if mode = info.Mode(); mode.Type() != fs.ModeSymlink {
			continue
		}
		to, err := os.Readlink(at)
		if links++; err == nil && links > mostLinks {
			err = fmt.Errorf("too many links lead to %s", path)
		}
		if err != nil {
			return fmt.Errorf("cannot use the program: %w", err)
		}
		if at = filepath.Dir(at); filepath.IsAbs(to) {
			at = ""
		}
		left = append(strings.Split(to, "/"), left...)
	}
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("%s is no program", at)
	case mode&0o111 == 0:
		return fmt.Errorf("%s is not executable; run: chmod a+x %s", at, at)
	}
	by := interpreter(at)
	switch {
	case by == "":
		return nil
	case scripts == 0:
		return fmt.Errorf("%s is a script of a script of a script", at)
	}
	if err := check(by, scripts-1); err != nil {
		return fmt.Errorf("interpreter of %s: %w", at, err)
	}
	return nil
}

// interpreter is what the first line of a script names, "" of what is none. One that cannot be read
// cannot be run.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	begin, _ := io.ReadAll(io.LimitReader(f, mostOfLine))
	line, _, _ := strings.Cut(string(begin), "\n")
	words, script := strings.CutPrefix(line, "#!")
	if all := strings.Fields(words); script && len(all) > 0 {
		return all[0]
	}
	return ""
}

// own returns an error if somebody else could change what is there. What is in a folder where
// each may change what is his alone, as in /tmp, is looked at by itself.
func own(path string, info fs.FileInfo) error {
	mode := info.Mode()
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case owner != 0 && int(owner) != os.Getuid():
		return fmt.Errorf("%s belongs to somebody else than root and the server's user; run: chown -h root %s", path, path)
	case mode.Type() == fs.ModeSymlink, mode.IsDir() && mode&fs.ModeSticky != 0:
		return nil
	case mode&0o022 != 0:
		return fmt.Errorf("others can write %s (mode %04o); run: chmod go-w %s", path, mode.Perm(), path)
	}
	return nil
}
