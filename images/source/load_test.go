package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"walt/images/content"
	"walt/images/imagetest"
)

// loadInto loads what is sent into a place, for PCs.
func loadInto(t testing.TB, p *place, which Archived, report func(Progress)) (Image, error) {
	t.Helper()
	if report == nil {
		report = func(Progress) {}
	}
	which.As = "alice/os"
	forPCs := func(context.Context, string, map[string]string) ([]Machine, error) {
		return []Machine{{Model: "pc-x86-64", Runs: []string{"linux/amd64"}}}, nil
	}
	i, err := Load(t.Context(), p.store, forPCs, which, func(Image) error { return nil }, report)
	if left, bad := os.ReadDir(filepath.Join(p.dir, "tmp")); bad != nil || len(left) > 0 {
		t.Errorf("%v was left, %v", left, bad)
	}
	return i, err
}

func sending(b []byte) Archived { return Archived{In: bytes.NewReader(b)} }

// refuses checks that a place refuses what is sent, in words that a user reads, and
// that nothing of it can be seen.
func refuses(t testing.TB, which Archived, want ...string) {
	t.Helper()
	p := newPlace(t)
	_, err := loadInto(t, p, which, nil)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Errorf("got %v, want %q", err, want)
		return
	}
	for _, w := range want {
		if !strings.Contains(e.Msg, w) {
			t.Errorf("got %q, want %q", e.Msg, w)
		}
	}
	g, err := p.store.Collect(t.Context(), nil, true)
	if err != nil {
		t.Error(err)
	}
	blobs, err := os.ReadDir(filepath.Join(p.dir, "blobs", "sha256"))
	for _, b := range blobs {
		if m, err := p.store.Manifest(content.Digest("sha256:" + b.Name())); err == nil && len(m.Layers) > 0 {
			t.Errorf("%s can be seen", b.Name())
		}
	}
	if err != nil || g.Blobs > 0 {
		t.Error(g, err)
	}
}

// saved is an archive as `docker save` of old wrote it: a layer is a directory, and
// one that is there twice a link.
func saved(t testing.TB, images ...string) []byte {
	t.Helper()
	layer := string(archived(t, regular("etc/motd", "saved")))
	files := []*tar.Header{imagetest.Directory("x"), regular("x/VERSION", "1.0"), regular("x/layer.tar", layer), symlink("y/layer.tar", "../x/layer.tar")}
	var list []string
	for _, name := range images {
		diff := content.Sum([]byte(layer))
		config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","config":{"Labels":{"walt.node.models":"pc-x86-64","name":%q}},"rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, name, diff, diff)
		file := content.Sum([]byte(config)).Hex() + ".json"
		files = append(files, regular(file, config))
		list = append(list, fmt.Sprintf(`{"Config":%q,"RepoTags":[%q],"Layers":["x/layer.tar","y/layer.tar"]}`, file, name))
	}
	return archived(t, append(files, regular("manifest.json", "["+strings.Join(list, ",")+"]"))...)
}

// packedLayout is an image layout of images, of which each has its name.
func packedLayout(t testing.TB, images ...v1.Image) []byte {
	t.Helper()
	var all []v1.Descriptor
	for i, img := range images {
		all = append(all, imagetest.Described(t, img, nameAnnotation, fmt.Sprintf("docker.io/library/os:%d", i), refAnnotation, fmt.Sprint(i)))
	}
	return archived(t, append(imagetest.Blobs(t, images...), imagetest.Layout(t, all...)...)...)
}

// soundImage is pcImage whose config has the digest of its uncompressed layer.
func soundImage(t testing.TB, motd string) v1.Image {
	t.Helper()
	return image(t, []v1.Layer{imagetest.TarLayer(t, regular("etc/motd", motd))}, "walt.node.models", "pc-x86-64")
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	img := soundImage(t, "packed")
	for name, b := range map[string][]byte{
		"saved": saved(t, "os:latest"), "packed": packedLayout(t, img),
		"gzip": imagetest.Gzip(t, packedLayout(t, img)), "zstd": zipped(t, saved(t, "os:latest")),
		"padded": append(packedLayout(t, img), make([]byte, 10_000)...),
		"both": archived(t, append(append(imagetest.Blobs(t, img), imagetest.Layout(t, imagetest.Described(t, img))...),
			regular("manifest.json", `[{"Config":"other","Layers":[]}]`))...),
	} {
		p := newPlace(t)
		var seen []Progress
		got, err := loadInto(t, p, sending(b), func(p Progress) { seen = append(seen, p) })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Labels["walt.node.models"] != "pc-x86-64" || got.Platform != "linux/amd64" || got.Size == 0 {
			t.Errorf("%s: got %+v", name, got)
		}
		if name != "saved" && name != "zstd" && got.Digest != digestOf(t, img) {
			t.Errorf("%s: its digest became %s", name, got.Digest)
		}
		if len(seen) != 1 || !seen[0].Finished || seen[0].Layer == "" {
			t.Errorf("%s: of one layer it was reported %+v", name, seen)
		}
		if _, err := p.store.Tree(t.Context(), content.Digest(got.Digest)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again, err := loadInto(t, p, sending(b), nil)
		if err != nil || again.Digest != got.Digest {
			t.Errorf("%s: the second time it is %s, %v", name, again.Digest, err)
		}
	}
}

// Of several images, the user says which; several names of one are no choice.
func TestLoadOneOfSeveral(t *testing.T) {
	t.Parallel()
	one, two := soundImage(t, "one"), soundImage(t, "two")
	refuses(t, sending(packedLayout(t, one, two)), "the archive has several images: docker.io/library/os:0, docker.io/library/os:1")
	refuses(t, sending(saved(t, "os:a", "os:b")), "the archive has several images: os:a, os:b")
	refuses(t, Archived{In: bytes.NewReader(saved(t, "os:a", "os:b")), Image: "c"}, "the archive has no image c, only: os:a, os:b")
	for _, name := range []string{"os:1", "library/os:1", "docker.io/library/os:1", digestOf(t, two)} {
		got, err := loadInto(t, newPlace(t), Archived{In: bytes.NewReader(packedLayout(t, one, two)), Image: name}, nil)
		if err != nil || got.Digest != digestOf(t, two) {
			t.Errorf("%s: got %s, %v", name, got.Digest, err)
		}
	}
	for _, name := range []string{"os", "os:latest", "localhost/os"} {
		got, err := loadInto(t, newPlace(t), Archived{In: bytes.NewReader(saved(t, "os:a", "localhost/os:latest")), Image: name}, nil)
		if err != nil || got.Labels["name"] != "localhost/os:latest" {
			t.Errorf("%s: got %v, %v", name, got.Labels, err)
		}
	}
	twice := append(imagetest.Blobs(t, one), imagetest.Layout(t,
		imagetest.Described(t, one, nameAnnotation, "os:1"), imagetest.Described(t, one, nameAnnotation, "os:2"))...)
	if got, err := loadInto(t, newPlace(t), sending(archived(t, twice...)), nil); err != nil || got.Digest != digestOf(t, one) {
		t.Errorf("of one image with two names: %v, %v", got.Digest, err)
	}
	unnamed := append(imagetest.Blobs(t, one, two), imagetest.Layout(t, imagetest.Described(t, one), imagetest.Described(t, two))...)
	refuses(t, sending(archived(t, unnamed...)), "several images", digestOf(t, one), digestOf(t, two))
	var many []v1.Descriptor
	for range packedLimit + 1 {
		many = append(many, imagetest.Described(t, one))
	}
	refuses(t, sending(archived(t, imagetest.Layout(t, many...)...)), "more than 200 images")
}

// Of several variants that fits which the machines run, also when others are not in
// the archive.
func TestLoadVariant(t *testing.T) {
	t.Parallel()
	pc, board := soundImage(t, "x"), imagetest.For(t, soundImage(t, "x"), "arm64")
	on := func(img v1.Image, architecture string) v1.Descriptor {
		d := imagetest.Described(t, img)
		d.Platform = &v1.Platform{OS: "linux", Architecture: architecture}
		return d
	}
	variants := []v1.Descriptor{on(board, "arm64"), on(pc, "amd64")}
	list := imagetest.Layout(t, variants...)[1]
	nested := imagetest.Layout(t, v1.Descriptor{
		MediaType: "application/vnd.oci.image.index.v1+json", Digest: hashOf(t, list.PAXRecords["TEST.content"]), Size: list.Size,
	})
	list.Name = "blobs/sha256/" + hashOf(t, list.PAXRecords["TEST.content"]).Hex
	for name, files := range map[string][]*tar.Header{
		"side by side":  append(imagetest.Blobs(t, pc, board), imagetest.Layout(t, variants...)...),
		"nested":        append(append(imagetest.Blobs(t, pc, board), list), nested...),
		"not all there": append(append(imagetest.Blobs(t, pc), list), nested...),
	} {
		got, err := loadInto(t, newPlace(t), sending(archived(t, files...)), nil)
		if err != nil || got.Digest != digestOf(t, pc) || got.Variant != "linux/amd64" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for name, files := range map[string][]*tar.Header{
		"side by side": append(imagetest.Blobs(t, pc, board), imagetest.Layout(t, variants...)...),
		"nested":       append(append(imagetest.Blobs(t, board), list), nested...),
	} {
		got, err := loadInto(t, newPlace(t), Archived{In: bytes.NewReader(archived(t, files...)), Platform: "linux/arm64"}, nil)
		if err != nil || got.Digest != digestOf(t, board) {
			t.Errorf("%s, arm64: got %+v, %v", name, got, err)
		}
	}
	refuses(t, sending(archived(t, append(append(imagetest.Blobs(t, board), list), nested...)...)), "has no variant for pc-x86-64 (linux/amd64), only for: linux/arm64")
	refuses(t, sending(archived(t, append([]*tar.Header{list}, nested...)...)), "lacks its part sha256:")
	refuses(t, Archived{In: bytes.NewReader(packedLayout(t, pc)), Platform: "linux/arm64"}, "is for linux/amd64 alone, not for linux/arm64")
}
