package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"walt/fault"
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

func hashOf(t testing.TB, text string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(string(content.Sum([]byte(text))))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// changedFile is the files of which one, whose name ends so, has other content, or is
// not there.
func changedFile(t testing.TB, files []*tar.Header, suffix string, change func(string) string) []byte {
	t.Helper()
	var all []*tar.Header
	for _, f := range files {
		if strings.HasSuffix(f.Name, suffix) {
			if change == nil {
				continue
			}
			f = regular(f.Name, change(f.PAXRecords["TEST.content"]))
		}
		all = append(all, f)
	}
	if len(all) == len(files) && change == nil {
		t.Fatalf("no %s", suffix)
	}
	return archived(t, all...)
}

func TestLoadRefusesWhatIsDamaged(t *testing.T) {
	t.Parallel()
	img := soundImage(t, "x")
	files := append(imagetest.Blobs(t, img), imagetest.Layout(t, imagetest.Described(t, img))...)
	layer, config, manifest := files[0].Name, files[1].Name, files[2].Name
	spoilt := func(s string) string { return s[:len(s)-1] + "?" }
	for name, want := range map[string]string{layer: "its part sha256:", config: "its part sha256:", manifest: "its part sha256:"} {
		refuses(t, sending(changedFile(t, files, name, spoilt)), "was damaged: "+want, "is something else")
		refuses(t, sending(changedFile(t, files, name, nil)), "was packed without "+want)
	}
	refuses(t, sending(changedFile(t, files, "index.json", nil)), "no archive of an image")
	refuses(t, sending(changedFile(t, files, "index.json", func(string) string { return "{" })), "not valid")
	refuses(t, sending(changedFile(t, files, "index.json", func(string) string { return "{}" })), "no archive of an image")
	refuses(t, sending(changedFile(t, files, "index.json", func(s string) string { return strings.Replace(s, "sha256:", "sha512:", 1) })), "")

	// A layer that is whole, and not what the config says.
	other, err := imagetest.Image(t, []v1.Layer{gzipLayer(t, regular("etc/motd", "y"))}, "walt.node.models", "pc-x86-64").RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	l := imagetest.Blobs(t, img)[0]
	lying := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%d}]}`,
		content.Sum(other), len(other), filepath.Base(l.Name), l.Size)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, content.Sum([]byte(lying)), len(lying))
	parts := []*tar.Header{l, regular("c", string(other)), regular("m", lying), regular("oci-layout", "{}"), regular("index.json", index)}
	refuses(t, sending(archived(t, parts...)), "is not what it says", "content does not match its digest")
	longer := strings.Replace(lying, fmt.Sprintf(`"size":%d}]`, l.Size), fmt.Sprintf(`"size":%d}]`, l.Size+1), 1)
	parts[2], parts[4] = regular("m", longer), regular("index.json", strings.Replace(index, string(content.Sum([]byte(lying))), string(content.Sum([]byte(longer))), 1))
	refuses(t, sending(archived(t, parts...)), "is not what it says", "bytes, not")

	refuses(t, sending(bytes.Replace(saved(t, "os"), []byte(`"pc-x86-64"`), []byte(`"pc-x86-32"`), 1)), "its config is not what its name")
	refuses(t, sending(bytes.Replace(saved(t, "os"), []byte("saved"), []byte("spoil"), 1)), "is not what it says")
	refuses(t, sending(bytes.Replace(saved(t, "os"), []byte(`["x/layer.tar"`), []byte(`["z/layer.tar"`), 1)), "without its layer z/layer.tar")
}

func TestLoadRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	const none = "no archive of an image"
	refuses(t, sending(nil), "nothing came on standard input")
	refuses(t, sending([]byte("hello")), none)
	refuses(t, sending(bytes.Repeat([]byte("hello\n"), 1000)), none)
	refuses(t, sending(make([]byte, 10240)), none)
	refuses(t, sending(imagetest.Gzip(t, []byte("hello"))), none)
	refuses(t, sending(archived(t, regular("etc/motd", "of docker export"))), none)
	refuses(t, sending(archived(t, symlink("manifest.json", "/etc/passwd"))), none)
	refuses(t, sending(archived(t, regular("manifest.json", "[]"))), "not valid")
	refuses(t, sending(archived(t, regular("manifest.json", "{}"))), "not valid")
	refuses(t, sending(archived(t, regular("manifest.json", `[{"Config":"../../etc/passwd","Layers":["/etc/passwd"]}]`))), "without its config")
	refuses(t, sending(archived(t, regular("manifest.json", `[{"Config":"","Layers":null}]`))), "without its config")
	layers := strings.Repeat(`,"l"`, layersLimit+1)
	refuses(t, sending(archived(t, regular("c", "{}"), regular("l", ""), regular("manifest.json", `[{"Config":"c","Layers":[`+layers[1:]+`]}]`))), "has more than 1000 layers")
	refuses(t, sending(archived(t, regular(strings.Repeat("x", nameLimit+1), ""))), "a name of more than 4096 bytes")
	var many []*tar.Header
	for i := range entryLimit + 1 {
		many = append(many, regular(fmt.Sprint(i), ""))
	}
	refuses(t, sending(archived(t, many...)), "more than 10000 files")
}

// Whatever of an archive came, unless all that is of use.
func TestLoadPart(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string][]byte{"saved": saved(t, "os"), "gzip": imagetest.Gzip(t, packedLayout(t, soundImage(t, "x")))} {
		p := newPlace(t)
		step := max(len(whole)/50, 1)
		for n := 1; n < len(whole)-step; n += step {
			_, err := loadInto(t, p, sending(whole[:n]), nil)
			if name == "saved" && n > len(whole)-1024-512 && err == nil {
				continue // only what fills blocks up is missing
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%s: %d of %d bytes: %v", name, n, len(whole), err)
			}
		}
		half, err := loadInto(t, p, sending(whole[:len(whole)*2/3]), nil)
		if err == nil || !strings.Contains(err.Error(), "not all of it came") {
			t.Errorf("%s: two thirds: %+v, %v", name, half, err)
		}
	}
}

// zeros are some bytes that are 0.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	if *z -= zeros(n); n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// A small archive that becomes a large one ends at the floor of the disk, and leaves
// nothing.
func TestLoadBomb(t *testing.T) {
	t.Parallel()
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: "x", Size: 1 << 50, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	const room = 64 << 20
	for step := int64(1) << 50; step > room; step /= 2 { // all but so much is not to be used
		p.store.Floor += step
		if p.store.CheckSpace(0) != nil {
			p.store.Floor -= step
		}
	}
	large := zeros(1 << 50)
	_, err := loadInto(t, p, Archived{In: io.MultiReader(&head, &large)}, nil)
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Msg, "disk for images") {
		t.Errorf("got %v", err)
	}
}

// Who sends nothing more is not waited for when nobody wants it any more.
func TestLoadInterrupted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	whole := packedLayout(t, bigImage(t))
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	begun := make(chan struct{})
	go func() { // ends with the pipe
		w.Write(whole[:len(whole)/2])
		close(begun)
	}()
	over := make(chan error, 1)
	go func() { // ends with the load
		_, err := Load(ctx, p.store, nil, Archived{In: r}, nil, func(Progress) {})
		over <- err
	}()
	<-begun
	why := errors.New("enough")
	cancel(why)
	select {
	case err := <-over:
		if !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
	if left, err := os.ReadDir(filepath.Join(p.dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v was left, %v", left, err)
	}
}

// What is not accepted is not stored.
func TestLoadUnaccepted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	no := Unusable(Sent, "is not wanted")
	_, err := Load(t.Context(), p.store, nil, sending(packedLayout(t, soundImage(t, "x"))), func(Image) error { return no }, func(Progress) {})
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if blobs, err := os.ReadDir(filepath.Join(p.dir, "blobs", "sha256")); err != nil || len(blobs) > 0 {
		t.Errorf("it has %v, %v", blobs, err)
	}
}

// Whatever is sent, it is loaded or refused in words, and nothing is left of it but
// content that is what its name says.
func FuzzLoad(f *testing.F) {
	img := soundImage(f, "x")
	files := append(imagetest.Blobs(f, img), imagetest.Layout(f, imagetest.Described(f, img))...)
	f.Add(archived(f, files...))
	f.Add(imagetest.Gzip(f, archived(f, files...)))
	f.Add(zipped(f, saved(f, "os")))
	f.Add(saved(f, "os", "other"))
	f.Add(archived(f, symlink("oci-layout", "index.json"), symlink("index.json", "oci-layout")))
	f.Add(archived(f, imagetest.Hardlink("manifest.json", "../../manifest.json"), regular("manifest.json", "[null]")))
	imagetest.KeepFinds(f)
	dir := imagetest.MemoryDir(f)
	store, err := content.Open(dir, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		platforms := func(context.Context, string, map[string]string) ([]Machine, error) { return nil, nil }
		_, err := Load(t.Context(), store, platforms, sending(b), func(Image) error { return nil }, func(Progress) {})
		if _, ok := errors.AsType[*Error](err); err != nil && !ok || fault.As(err) != nil {
			t.Errorf("no words for %v", err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("%v was left", left)
		}
		if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || !slices.Equal(names(left), []string{filepath.Base(dir)}) {
			t.Errorf("outside there is %v", left)
		}
		blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range blobs {
			path := filepath.Join(dir, "blobs", "sha256", blob.Name())
			if b, err := os.ReadFile(path); err != nil || content.Sum(b).Hex() != blob.Name() {
				t.Errorf("%s is something else, %v", blob.Name(), err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func names(all []os.DirEntry) (names []string) {
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
