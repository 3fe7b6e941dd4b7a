//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// account is a user of the image.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // that the image has it in, too
}

// rootAccount is root as the image has it.
func rootAccount() account {
	a, err := findAccount("0")
	if err != nil || a.home == "" {
		a.home = "/root"
	}
	a.name = "root"
	if !isThere(a.shell) {
		a.shell = "/bin/sh"
	}
	return a
}

// findAccount returns the user of a name or number, with an optional group behind a
// colon, as USER of OCI images has it. A number need not be known. Without a group, the
// user is in all those that the image has it in.
func findAccount(user string) (account, error) {
	user, group, _ := strings.Cut(user, ":")
	a := account{name: user, home: "/"}
	fields := lookUp("/etc/passwd", user, 7)
	if fields != nil {
		a.name, a.home, a.shell = fields[0], fields[5], fields[6]
	} else {
		fields = []string{"", "", user, "0"}
	}
	uid, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return a, fmt.Errorf("the image has no user %s", user)
	}
	gid := fields[3]
	if group != "" {
		gid = group
		if fields := lookUp("/etc/group", group, 4); fields != nil {
			gid = fields[2]
		}
	}
	g, err := strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return a, fmt.Errorf("the image has no group %s", gid)
	}
	a.uid, a.gid = uint32(uid), uint32(g)
	if group == "" {
		a.groups = groupsOf(a.name)
	}
	return a, nil
}

// groupsOf returns the groups whose lines name a user.
func groupsOf(user string) (all []uint32) {
	b, err := readSmall("/etc/group")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 4 || !slices.Contains(strings.Split(fields[3], ","), user) {
			continue
		}
		if g, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
			all = append(all, uint32(g))
		}
	}
	return all
}

// lookUp returns the fields of the line whose first or third one is the key.
func lookUp(file, key string, count int) []string {
	b, err := readSmall(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) >= count && (fields[0] == key || fields[2] == key) {
			return slices.Clip(fields)
		}
	}
	return nil
}

// openAccount has keys open the account of root where its password is locked, in a file as
// shadow(5) says: a "!" there keeps out keys, too, with an OpenSSH that has no PAM. With the
// "*" that takes its place no password opens it.
func openAccount(file string) error {
	b, err := readSmall(file)
	if err != nil {
		return nil // there are no passwords
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if fields := strings.SplitN(line, ":", 3); len(fields) == 3 && fields[0] == "root" && strings.HasPrefix(fields[1], "!") {
			line = "root:*:" + fields[2]
		}
		text.WriteString(line)
	}
	if text.String() == string(b) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if err := exchange(file, []byte(text.String()), fs.FileMode(st.Mode&0o777)); err != nil {
		return err
	}
	return os.Chown(file, int(st.Uid), int(st.Gid))
}
