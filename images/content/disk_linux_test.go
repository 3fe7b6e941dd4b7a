package content

import (
	"errors"
	"os"
	"testing"

	"walt/fault"
)

// TestDiskFails has the disk fail while a layer is read, which is no fault of who built
// the image.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	for name, pack := range map[string]func([]byte) []byte{
		"uncompressed": func(b []byte) []byte { return b },
		"compressed":   func(b []byte) []byte { return zip(t, b) },
	} {
		s := newStore(t)
		layer := pack(archive(t, regular("a", "1")))
		digest := keep(t, s, layer)
		file := s.blobPath(Sum(layer))
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/proc/self/mem", file); err != nil { // whose first page cannot be read: EIO
			t.Fatal(err)
		}
		_, err := s.Tree(t.Context(), digest)
		if f := fault.As(err); f != nil || fault.Disk(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
		m, err := s.Manifest(digest)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Check(t.Context(), m)
		if _, bad := errors.AsType[*LayerError](err); bad || fault.Disk(err) == nil {
			t.Errorf("%s, before it is visible: %v", name, err)
		}
	}
}
