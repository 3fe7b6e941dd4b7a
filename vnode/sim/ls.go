package sim

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"walt/images/content"
)

// listing is one line of ls: a file and the name that it is shown with.
type listing struct {
	name string
	path string // absolute
	info fs.FileInfo
}

func (sh *shell) ls(_ context.Context, args []string) int {
	letters, names, ok := sh.flags("ls", "la1", args)
	if !ok {
		return 1
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	long, all := strings.Contains(letters, "l"), strings.Contains(letters, "a")
	status := 0
	var files, dirs []listing
	for _, name := range names {
		l, err := sh.look(name, long)
		switch {
		case err != nil:
			sh.complain("ls: %s: %s", name, sh.reason(err))
			status = 1
		case l.info.IsDir():
			dirs = append(dirs, l)
		default:
			files = append(files, l)
		}
	}
	sh.list(files, long)
	for i, d := range dirs {
		inside, err := sh.entries(d, all)
		if err != nil {
			sh.complain("ls: %s: %s", d.name, sh.reason(err))
			status = 1
			continue
		}
		if len(names) > 1 {
			if i > 0 || len(files) > 0 {
				sh.print("\n")
			}
			sh.print(printable(d.name) + ":\n")
		}
		if long {
			sh.print(fmt.Sprintf("total %d\n", blocks(inside)))
		}
		sh.list(inside, long)
	}
	return status
}

// look finds what a name that was typed stands for. A long listing shows a
// symbolic link itself, unless the name ends in a slash; a short one what it
// leads to, if there is anything.
func (sh *shell) look(name string, long bool) (listing, error) {
	p := sh.abs(name)
	if !long || strings.HasSuffix(name, "/") {
		if info, err := sh.node.disk.stat(p, true); err == nil {
			return listing{name, p, info}, nil
		}
	}
	info, err := sh.node.disk.stat(p, false)
	return listing{name, p, info}, err
}

// entries returns what is in a directory, in order.
func (sh *shell) entries(dir listing, all bool) ([]listing, error) {
	entries, err := sh.node.disk.list(dir.path)
	if err != nil {
		return nil, err
	}
	var found []listing
	if all {
		found = append(found, listing{".", dir.path, dir.info})
		above, err := sh.node.disk.stat(path.Dir(dir.path), true)
		if err != nil {
			return nil, err
		}
		found = append(found, listing{"..", path.Dir(dir.path), above})
	}
	for _, e := range entries {
		if all || !strings.HasPrefix(e.name, ".") {
			found = append(found, listing{e.name, path.Join(dir.path, e.name), e})
		}
	}
	return found, nil
}

func (sh *shell) list(files []listing, long bool) {
	for _, l := range files {
		if long {
			sh.print(sh.details(l))
		}
		sh.print(printable(l.name))
		if target, err := sh.node.disk.readLink(l.path); long && l.info.Mode()&fs.ModeSymlink != 0 && err == nil {
			sh.print(" -> " + printable(target))
		}
		sh.print("\n")
	}
}

// details is what a long listing says before the name.
func (sh *shell) details(l listing) string {
	owner, group, size := "root", "root", strconv.FormatInt(l.info.Size(), 10)
	if a, ok := l.info.Sys().(content.Attr); ok {
		owner, group = account(a.UID), account(a.GID)
		if l.info.Mode()&fs.ModeDevice != 0 {
			size = fmt.Sprintf("%d, %3d", a.Major, a.Minor)
		}
	}
	const recent = 182 * 24 * time.Hour
	when := "Jan _2 15:04"
	if age := sh.node.now().Sub(l.info.ModTime()); age < 0 || age > recent {
		when = "Jan _2  2006"
	}
	return fmt.Sprintf("%s %4d %-8s %-8s %9s %s ", mode(l.info.Mode()), 1, owner, group, size, l.info.ModTime().UTC().Format(when))
}

// account is the name of a user or group; of others than root, the number.
func account(id int) string {
	if id == 0 {
		return "root"
	}
	return strconv.Itoa(id)
}

// mode is a mode as POSIX ls shows it, as in -rwsr-xr-x.
func mode(m fs.FileMode) string {
	text := []byte("-rwxrwxrwx")
	switch {
	case m&fs.ModeDir != 0:
		text[0] = 'd'
	case m&fs.ModeSymlink != 0:
		text[0] = 'l'
	case m&fs.ModeCharDevice != 0:
		text[0] = 'c'
	case m&fs.ModeDevice != 0:
		text[0] = 'b'
	case m&fs.ModeNamedPipe != 0:
		text[0] = 'p'
	case m&fs.ModeSocket != 0:
		text[0] = 's'
	}
	for i := range 9 {
		if m&(1<<(8-i)) == 0 {
			text[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit    fs.FileMode
		at     int
		letter byte
	}{{fs.ModeSetuid, 3, 's'}, {fs.ModeSetgid, 6, 's'}, {fs.ModeSticky, 9, 't'}} {
		if m&special.bit == 0 {
			continue
		}
		if text[special.at] == '-' {
			special.letter -= 'a' - 'A'
		}
		text[special.at] = special.letter
	}
	return string(text)
}

// blocks is how many KiB files take on a disk of 4 KiB blocks.
func blocks(files []listing) (n int64) {
	for _, l := range files {
		if l.info.Mode().IsRegular() {
			n += (l.info.Size() + 4095) / 4096 * 4
		}
	}
	return n
}

// printable replaces what could play tricks on a terminal.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
}
