//go:build linux || darwin

package badger

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes of the disk of dir are left to this process.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
