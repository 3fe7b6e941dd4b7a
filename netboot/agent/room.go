//go:build linux

package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

const (
	// defaultSize is how much may be written, of the memory that the image leaves.
	defaultSize = "60%"
	// mostPercent is how much of it at most, whatever is asked for: when all memory is
	// full of files, no program ends that would free some.
	mostPercent = 90
	// perFile is for how many bytes of room there is one file. Files take memory of the
	// kernel, also empty ones.
	perFile = 4 << 10
	// unpackSize is what an image may take that is in memory. Behind that there would be
	// no error but a kernel without memory.
	unpackSize = "80%"
)

// unpackRoot makes a root in memory, of archives.
func unpackRoot(r instructions.Root, log *record) (taken int64, err error) {
	// Of a tmpfs without a limit none can be set later.
	if err := mount("walt-ram", newRoot, "tmpfs", 0, "size="+unpackSize+",nr_inodes=2147483647,mode=0755"); err != nil {
		return 0, err
	}
	for _, url := range r.RAM {
		if err := inRoot(func() error { return unpack(url, log) }); err != nil {
			return 0, err
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(newRoot, &st); err != nil {
		return 0, err
	}
	taken = int64(st.Blocks-st.Bfree) * int64(st.Bsize)
	total, err := memory()
	if err != nil {
		return 0, err
	}
	options, err := room(r, total, taken, int64(st.Files-st.Ffree))
	if err != nil {
		return 0, err
	}
	if err := unix.Mount("", newRoot, "", unix.MS_REMOUNT, options); err != nil {
		return 0, fmt.Errorf("limit what may be written to %s: %w", options, err)
	}
	return taken, nil
}

// memory is how many bytes of memory the machine has.
func memory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("the size of the memory: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}

// room is the options of a tmpfs for what may be written, where an image takes bytes
// and files of it already.
func room(r instructions.Root, total, taken, files int64) (string, error) {
	left := max(0, total-taken)
	size, err := share(cmp.Or(r.Size, defaultSize), left)
	if err != nil {
		return "", err
	}
	size = min(size, left*mostPercent/100)
	inodes := strconv.FormatInt(files+size/perFile, 10)
	return fmt.Sprintf("size=%d,nr_inodes=%s", taken+size, cmp.Or(r.Inodes, inodes)), nil
}

// share parses a size as in 60%, 512M or 2G.
func share(size string, of int64) (int64, error) {
	unit := int64(1)
	number := strings.TrimRight(size, "%MG")
	switch size[len(number):] {
	case "%":
		unit = of / 100
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	default:
		number = ""
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the instructions have the size %q", size)
	}
	return n * unit, nil
}
