package netboot

import (
	"bufio"
	"cmp"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"walt/images/content"
	"walt/netboot/instructions"
)

// A machine that sets a capability copies the file into its memory: these are how many
// it copies, and how many bytes of them.
const (
	capableLimit = 1000
	capableBytes = 64 << 20
)

// capabilities are those of a tree that a machine sets, the smallest files first as
// long as there is room; left is how many it does not set.
func capabilities(t *content.Tree) (set []instructions.Capability, left int) {
	all := t.Capabilities()
	slices.SortStableFunc(all, func(a, b content.Capable) int { return cmp.Compare(a.Size, b.Size) })
	room := int64(capableBytes)
	for i, c := range all {
		if room -= c.Size; room < 0 || i == capableLimit {
			return set, len(all) - i
		}
		set = append(set, instructions.Capability{Path: "/" + c.Path, Value: []byte(c.Capability)})
	}
	return set, 0
}

// enforces reports whether an image would have SELinux enforce a policy that it has:
// over NFS no file has the label that this asks for.
func enforces(t fs.FS) bool {
	const dir = "etc/selinux"
	f, err := t.Open(dir + "/config")
	if err != nil {
		return false
	}
	defer f.Close()
	mode, policy := "", "targeted"
	for lines := bufio.NewScanner(io.LimitReader(f, 64<<10)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(name) {
		case "SELINUX":
			mode = value
		case "SELINUXTYPE":
			policy = value
		}
	}
	if !strings.EqualFold(mode, "enforcing") || !fs.ValidPath(policy) {
		return false
	}
	found, err := fs.ReadDir(t, path.Join(dir, policy, "policy"))
	return err == nil && slices.ContainsFunc(found, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), "policy.") })
}

// cloudInitParams has cloud-init run only where an image says where its data are, as in
// /var/lib/cloud/seed: else it would ask for minutes, where it does not know the hardware.
// And it leaves the network alone, which the root comes over: the configuration of that
// is "{config: disabled}", in the form that all versions understand. See
// https://docs.cloud-init.io/en/latest/explanation/kernel-command-line.html and the
// beginning of its tools/ds-identify.
const cloudInitParams = "ci.di.policy=search,found=all,maybe=none,notfound=disabled network-config=e2NvbmZpZzogZGlzYWJsZWR9"

// hasCloudInit reports whether an image has cloud-init.
func hasCloudInit(t fs.FS) bool {
	_, err := fs.Stat(t, "usr/bin/cloud-init")
	return err == nil
}
