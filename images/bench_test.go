package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Fetching 128 MiB in 8 layers from a registry on loopback.
func BenchmarkFetch(b *testing.B) {
	blobs := map[string][]byte{}
	var layers []v1.Layer
	for range 8 {
		l, err := random.Layer(16<<20, types.OCILayer)
		if err != nil {
			b.Fatal(err)
		}
		h, _ := l.Digest()
		r, _ := l.Compressed()
		if blobs[h.String()], err = io.ReadAll(r); err != nil {
			b.Fatal(err)
		}
		layers = append(layers, l)
	}
	f := newFaulty()
	s := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for h, blob := range blobs { // without the copies of the in-process registry
			if r.Method == http.MethodGet && len(r.URL.Path) > len(h) && r.URL.Path[len(r.URL.Path)-len(h):] == h {
				w.Write(blob)
				return
			}
		}
		f.ServeHTTP(w, r)
	}))
	push(b, s.URL, pcDefault, image(b, layers, modelsLabel, "pc-x86-64"))
	b.SetBytes(128 << 20)
	for b.Loop() {
		b.StopTimer()
		l := newLibrary(b)
		lookIn(b, l, s.URL)
		b.StartTimer()
		if _, err := l.Fetch(b.Context(), DefaultRef("pc-x86-64"), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Asking for an image whose content is here already.
func BenchmarkFetchAgain(b *testing.B) {
	l := newLibrary(b)
	s := serve(b, newFaulty())
	push(b, s.URL, pcDefault, image(b, []v1.Layer{gzipLayer(b, regular("a", "1"))}, modelsLabel, "pc-x86-64"))
	lookIn(b, l, s.URL)
	for b.Loop() {
		if _, err := l.Fetch(b.Context(), DefaultRef("pc-x86-64"), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Cloning an image of 1 GiB in 8 layers from a real registry on loopback, beside
// skopeo. peak-MB is by how much the memory of the process grew meanwhile.
func BenchmarkCloneGiB(b *testing.B) {
	url := "http://" + realRegistry(b, b.TempDir(), "", "")
	gib(b, url)
	b.Run("walt", func(b *testing.B) {
		b.SetBytes(1 << 30)
		idle := resident(b)
		for b.Loop() {
			b.StopTimer()
			l := newLibrary(b)
			lookIn(b, l, url)
			b.StartTimer()
			if _, err := l.Fetch(b.Context(), DefaultRef("pc-x86-64"), func(Progress) {}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			os.RemoveAll(l.dir)
			b.StartTimer()
		}
		b.ReportMetric(float64(peak(b)-idle)/1e6, "peak-MB")
	})
	b.Run("skopeo", func(b *testing.B) {
		bin := part(b, "skopeo", "skopeo")
		b.SetBytes(1 << 30)
		for b.Loop() {
			dir := filepath.Join(b.TempDir(), "image")
			cmd := exec.CommandContext(b.Context(), bin, "--insecure-policy", "copy", "--src-tls-verify=false",
				"docker://"+strings.TrimPrefix(url, "http://")+"/"+pcDefault, "dir:"+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			b.StopTimer()
			os.RemoveAll(dir)
			b.StartTimer()
		}
	})
}

// gib publishes an image of 1 GiB in 8 layers.
func gib(b *testing.B, url string) {
	l := newLibrary(b)
	defer os.RemoveAll(l.dir)
	config := fmt.Sprintf(`{"config":{"Labels":{%q:"pc-x86-64"}},"created":"2024-05-06T07:08:09Z"}`, modelsLabel)
	store := func(content io.Reader, size int64) v1.Descriptor {
		f, err := os.CreateTemp(filepath.Join(l.dir, "tmp"), "")
		if err != nil {
			b.Fatal(err)
		}
		hash := sha256.New()
		if _, err := io.Copy(io.MultiWriter(f, hash), content); err != nil {
			b.Fatal(err)
		}
		d := v1.Descriptor{Size: size, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}}
		if err := errors.Join(f.Close(), os.Rename(f.Name(), filepath.Join(l.dir, "blobs", "sha256", d.Digest.Hex))); err != nil {
			b.Fatal(err)
		}
		return d
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: store(strings.NewReader(config), int64(len(config)))}
	m.Config.MediaType = types.OCIConfigJSON
	for i := range 8 {
		var head bytes.Buffer
		const size = 128<<20 - 1536
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i), Mode: 0o644, Size: size}
		if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		random := io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)
		d := store(io.MultiReader(&head, random, bytes.NewReader(make([]byte, 1024))), 128<<20)
		d.MediaType = types.OCIUncompressedLayer
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	img := Image{Ref: DefaultRef("pc-x86-64"), Digest: store(bytes.NewReader(raw), int64(len(raw))).Digest.String()}
	lookIn(b, l, url)
	began := time.Now()
	if _, err := l.Publish(b.Context(), img, "lab", nil); err != nil {
		b.Fatal(err)
	}
	b.Logf("published in %v", time.Since(began))
}

// resident is the memory of this process now; peak counts from here.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Skip(err)
	}
	return status(b, "VmRSS:")
}

func peak(b *testing.B) int64 { return status(b, "VmHWM:") }

func status(b *testing.B, field string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			var kib int64
			fmt.Sscan(rest, &kib)
			return kib << 10
		}
	}
	return 0
}
