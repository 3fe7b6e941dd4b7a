package images

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/fault"
)

// Whatever a daemon packs, all that it may leave is content that is what its name
// says.
func FuzzPack(f *testing.F) {
	layer := archive(f, regular("etc/motd", "x"))
	h, _, _ := v1.SHA256(bytes.NewReader(layer))
	config := `{"config":{"Labels":{"walt.node.models":"x"}},"rootfs":{"type":"layers","diff_ids":["` + h.String() + `"]}}`
	index := regular("manifest.json", `[{"Config":"c.json","Layers":["x/l.tar"]}]`)
	good := archive(f, regular("c.json", config), directory("x"), symlink("x/l.tar", "../l.tar"), regular("l.tar", string(layer)), index)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(archive(f, symlink("x/l.tar", "../../../etc/passwd"), regular("c.json", config), index))
	f.Add(archive(f, regular("../../c.json", config), index))
	f.Add(archive(f, regular("c.json", "{"), regular("x/l.tar", ""), index))
	l := newLibrary(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := l.keepPack(t.Context(), packer("a daemon"), bytes.NewReader(b))
		if bytes.Equal(b, good) && err != nil {
			t.Error(err)
		}
		if fault.As(err) != nil {
			t.Errorf("an error of the pack is a fault: %v", err)
		}
		if left := leftovers(t, l); len(left) > 0 {
			t.Errorf("%v was left", left)
		}
		err = filepath.WalkDir(filepath.Dir(l.content.dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(path, l.content.blobs()) {
				t.Errorf("%s was written", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// packer is who packed.
type packer string

func (p packer) String() string { return string(p) }
