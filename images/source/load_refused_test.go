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

	"walt/fault"
	"walt/images/content"
	"walt/images/imagetest"
)

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
	case <-time.After(time.Minute):
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
