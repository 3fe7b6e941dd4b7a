package program

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// mostLinks is how many links may lead to a program.
const mostLinks = 40

// Check returns an error unless nobody but root and the user who runs the server could have
// another program run: it, and all folders and links that lead to it, are theirs, and others
// cannot write them.
func Check(path string) error {
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
	return nil
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
