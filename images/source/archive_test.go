package source

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/images/content"
	"walt/images/imagetest"
)

// Whatever a daemon packs, all that it may leave is content that is what its name
// says.
func FuzzArchive(f *testing.F) {
	layer := imagetest.Archive(f, imagetest.Regular("etc/motd", "x"))
	config := `{"config":{"Labels":{"walt.node.models":"x"}},"rootfs":{"type":"layers","diff_ids":["` + string(content.Sum(layer)) + `"]}}`
	index := imagetest.Regular("manifest.json", `[{"Config":"c.json","Layers":["x/l.tar"]}]`)
	good := imagetest.Archive(f, imagetest.Regular("c.json", config), imagetest.Directory("x"), imagetest.Symlink("x/l.tar", "../l.tar"), imagetest.Regular("l.tar", string(layer)), index)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(imagetest.Archive(f, imagetest.Symlink("x/l.tar", "../../../etc/passwd"), imagetest.Regular("c.json", config), index))
	f.Add(imagetest.Archive(f, imagetest.Regular("../../c.json", config), index))
	f.Add(imagetest.Archive(f, imagetest.Regular("c.json", "{"), imagetest.Regular("x/l.tar", ""), index))
	imagetest.KeepFinds(f)
	dir := imagetest.MemoryDir(f)
	store, err := content.Open(dir, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := (&Daemon{store: store}).unpack(t.Context(), bytes.NewReader(b))
		if bytes.Equal(b, good) && err != nil {
			t.Error(err)
		}
		if fault.As(err) != nil {
			t.Errorf("an error of the archive is a fault: %v", err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("%v was left", left)
		}
		err = filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(path, filepath.Join(dir, "blobs")) {
				t.Errorf("%s was written", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
