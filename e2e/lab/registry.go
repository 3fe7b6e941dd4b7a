package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/imagetest"
)

// Registry is Debian's docker-registry, on an address that it keeps when it is
// stopped and started again.
type Registry struct {
	// User and Password, if any, are what it asks for.
	User, Password string
	// TLS makes it speak https; the authority that signed its certificate is in
	// the file CA.
	TLS bool

	dir     string
	address string
	held    *os.File      // keeps the address for it
	process *exec.Cmd     // nil when it was stopped
	ended   chan struct{} // closed when the process is gone
}

// NewRegistry prepares a registry whose files are in dir. Nothing runs yet.
func NewRegistry(dir string) (*Registry, error) {
	address, held, err := imagetest.HoldPort()
	return &Registry{dir: dir, address: address, held: held}, err
}

// URL is where the registry is, whether it runs or not.
func (r *Registry) URL() string {
	if r.TLS {
		return "https://" + r.address
	}
	return "http://" + r.address
}

// Address is its host and port.
func (r *Registry) Address() string { return r.address }

// Start starts the registry and returns when it answers.
func (r *Registry) Start() error {
	if r.process != nil {
		return errors.New("the registry runs already")
	}
	config, err := r.config()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	process := exec.Command("docker-registry", "serve", config)
	process.Stdout, process.Stderr = &said, &said
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		process.Wait()
		close(ended)
	}()
	r.process, r.ended = process, ended
	client := r.client()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended: // who answers at its address is somebody else
			r.process = nil
			return fmt.Errorf("the registry ended: %s", said.Bytes())
		default:
		}
		answer, err := client.Get(r.URL() + "/v2/")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusUnauthorized {
				return nil
			}
		}
	}
	return errors.Join(errors.New("the registry does not answer"), r.Stop())
}

// Stop ends the registry; what was pushed stays.
func (r *Registry) Stop() error {
	if r.process == nil {
		return nil
	}
	err := r.process.Process.Kill()
	<-r.ended
	r.process = nil
	return err
}

// Damage turns over a byte of each layer that the registry has, whose digest is
// wrong then; doing it again repairs them.
func (r *Registry) Damage() error {
	blobs, err := filepath.Glob(filepath.Join(r.dir, "registry/docker/registry/v2/blobs/sha256/*/*/data"))
	if err != nil {
		return err
	}
	for _, blob := range blobs {
		content, err := os.ReadFile(blob)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(content, []byte("{")) {
			continue // a manifest or a configuration
		}
		content[len(content)/2] ^= 0xff
		if err := os.WriteFile(blob, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Image is a small default image for tests.
type Image struct {
	Models    []string // that its label lists and under whose names it is pushed
	Preferred string   // the label walt.image.preferred-name, if any
	Unlabeled bool     // leaves the label of the models out
	Version   string   // the content of its file /etc/version, if any
	Name      string   // <user>/<name>:<tag> instead of those of its models
	Created   time.Time
	Bulk      int // KiB of noise in each of Layers more layers
	Layers    int
	Platforms []string // architectures: a list of one image for each
	Files     []string // more of them: the path and the content of each, of directories "" behind a path that ends with "/"
}

// Push puts the image into the registry, as waltplatform/<model>-default for
// each of its models. Its file /etc/image holds the first of these names.
func (r *Registry) Push(i Image) error {
	names := []string{i.Name}
	if i.Name == "" {
		names = nil
		for _, model := range i.Models {
			names = append(names, "waltplatform/"+model+"-default:latest")
		}
	}
	options := []remote.Option{remote.WithTransport(r.client().Transport), remote.WithAuth(authn.Anonymous)}
	if r.User != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: r.User, Password: r.Password}))
	}
	for _, n := range names {
		ref, err := name.ParseReference(r.address+"/"+n, r.scheme()...)
		if err != nil {
			return err
		}
		if err := i.push(ref, options); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
	}
	return nil
}

func (i Image) push(ref name.Reference, options []remote.Option) error {
	if len(i.Platforms) == 0 {
		image, err := i.build(i.platform())
		if err != nil {
			return err
		}
		return remote.Write(ref, image, options...)
	}
	list := v1.ImageIndex(empty.Index)
	for _, arch := range i.Platforms {
		image, err := i.build(arch)
		if err != nil {
			return err
		}
		list = mutate.AppendManifests(list, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return remote.WriteIndex(ref, list, options...)
}

// platform is what the image says that it is for: nothing when no platform suits all
// its models.
func (i Image) platform() string {
	pcs := 0
	for _, m := range i.Models {
		if strings.HasPrefix(m, "pc-") {
			pcs++
		}
	}
	switch pcs {
	case 0:
		return "arm64"
	case len(i.Models):
		return "amd64"
	}
	return ""
}

func (i Image) build(arch string) (v1.Image, error) {
	labels := map[string]string{"walt.node.models": strings.Join(i.Models, ",")}
	if i.Unlabeled {
		clear(labels)
	}
	if i.Preferred != "" {
		labels["walt.image.preferred-name"] = i.Preferred
	}
	created := i.Created
	if created.IsZero() {
		created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS: "linux", Architecture: arch,
		Created: v1.Time{Time: created},
		Config:  v1.Config{Labels: labels},
		RootFS:  v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	for _, files := range [][]string{
		{"etc/", "", "etc/os-release", "ID=walt\n", "root/", "", "tmp/", ""},
		{"etc/image", i.Models[0] + "-default\n", "etc/version", i.Version, "etc/arch", arch},
		i.Files,
	} {
		if len(files) == 0 {
			continue
		}
		content, err := archive(files)
		if err != nil {
			return nil, err
		}
		if image, err = withLayer(image, func() io.Reader { return bytes.NewReader(content) }); err != nil {
			return nil, err
		}
	}
	for n := range i.Layers {
		seed := sha256.Sum256(fmt.Append(nil, i.Name, i.Version, arch, n))
		if image, err = withLayer(image, func() io.Reader { return noise(seed, n, i.Bulk) }); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// withLayer adds the layer that is read from open, again and again.
func withLayer(image v1.Image, open func() io.Reader) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(open()), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// noise is a tar file of one file of random bytes, made while it is read.
func noise(seed [32]byte, n, kib int) io.Reader {
	var header bytes.Buffer
	size := int64(kib) << 10 // so that it needs no padding
	h := &tar.Header{Name: fmt.Sprintf("bulk-%d", n), Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
	tar.NewWriter(&header).WriteHeader(h) // a buffer takes all
	return io.MultiReader(&header, io.LimitReader(rand.NewChaCha8(seed), size), bytes.NewReader(make([]byte, 1024)))
}

// archive makes a tar file of pairs of a path and a content; a path that ends
// in "/" is a directory.
func archive(files []string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for pair := range slices.Chunk(files, 2) {
		h := &tar.Header{Name: pair[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(pair[1]))}
		if strings.HasSuffix(pair[0], "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, pair[1]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// Clear forgets all that was pushed to a registry that does not run.
func (r *Registry) Clear() error { return os.RemoveAll(filepath.Join(r.dir, "registry")) }
