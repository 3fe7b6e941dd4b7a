package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
	"walt/state"
)

func TestFetchOfWhatIsNoImageForNodes(t *testing.T) {
	t.Parallel()
	layer := gzipLayer(t, regular("a", "1"))
	packed := slices.Clip(zip(t, archive(t, regular("a", strings.Repeat("1", 5000)))))
	odd := static.NewLayer([]byte("?"), "application/x-odd")
	noPC := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add:        pcImage(t, "x"),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
	})
	for name, test := range map[string]struct {
		push  any
		words []string
	}{
		"no label":           {image(t, []v1.Layer{layer}), []string{"no label walt.node.models"}},
		"empty label":        {image(t, []v1.Layer{layer}, modelsLabel, " , "), []string{"no label walt.node.models"}},
		"bad label":          {image(t, []v1.Layer{layer}, modelsLabel, "ok,Not OK"), []string{"walt.node.models", `"Not OK"`}},
		"100 models and one": {image(t, []v1.Layer{layer}, modelsLabel, manyModels(101)), []string{"more than 100 models"}},
		"zero layers":        {image(t, nil, modelsLabel, "x"), []string{"has no layers"}},
		"odd layer":          {image(t, []v1.Layer{odd}, modelsLabel, "x"), []string{"a layer of the kind", "x-odd"}},
		"odd config":         {mutate.ConfigMediaType(pcImage(t, "x"), "application/x-chart"), []string{"a config of the kind", "x-chart"}},
		"no variant":         {noPC, []string{"no variant for pc-x86-64 (linux/amd64 or linux/386), only for: linux/s390x"}},
		"text for a layer":   {image(t, []v1.Layer{static.NewLayer([]byte("no tar"), types.OCILayer)}, modelsLabel, "x"), []string{"a layer sha256:", "cannot be read"}},
		"text in gzip":       {image(t, []v1.Layer{static.NewLayer(zip(t, bytes.Repeat([]byte("no tar "), 200)), types.OCILayer)}, modelsLabel, "x"), []string{"a layer sha256:", "cannot be read"}},
		"half a tar":         {image(t, []v1.Layer{static.NewLayer(archive(t, regular("a", "1"), regular("b", "2"))[:1100], types.OCIUncompressedLayer)}, modelsLabel, "x"), []string{"a layer sha256:", "cannot be read"}},
		"a link to nothing":  {image(t, []v1.Layer{gzipLayer(t, regular("a", "1"), hardlink("b", "missing"))}, modelsLabel, "x"), []string{"a layer sha256:", "cannot be read", "hard link to /missing"}},
		"an odd entry":       {image(t, []v1.Layer{gzipLayer(t, regular("a", "1"), &tar.Header{Typeflag: 'Z', Name: "z"})}, modelsLabel, "x"), []string{"cannot be read", "/z has the type"}},
		"cut gzip":           {image(t, []v1.Layer{static.NewLayer(packed[:len(packed)-9], types.OCILayer)}, modelsLabel, "x"), []string{"cannot be read: unexpected EOF"}},
		"bytes after gzip":   {image(t, []v1.Layer{static.NewLayer(append(packed, "more"...), types.OCILayer)}, modelsLabel, "x"), []string{"cannot be read: something else follows"}},
		"old schema":         {types.DockerManifestSchema1Signed, []string{"is of the kind", "manifest.v1+prettyjws"}},
		"not a manifest":     {types.OCIManifestSchema1, []string{"manifest that is not valid"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f, url := inLab(t)
			switch what := test.push.(type) {
			case v1.Image:
				push(t, url, pcDefault, what)
			case v1.ImageIndex:
				push(t, url, pcDefault, what)
			case types.MediaType:
				f.Break(func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, "/manifests/") {
						w.Header().Set("Content-Type", string(what))
						io.WriteString(w, "[]")
					}
					return strings.Contains(r.URL.Path, "/manifests/")
				})
			}
			_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
			wantFault(t, err, append(test.words, pcDefault, "registry lab ("+url+")")...)
			if all, err := state.Read(t.Context(), l.store, All); err != nil || len(all) > 0 {
				t.Errorf("there is %v, %v", all, err)
			}
			if n := f.Blobs.Load(); n > 1 && !strings.Contains(strings.Join(test.words, " "), "cannot be read") {
				t.Errorf("%d blobs were downloaded before it was refused", n)
			}
		})
	}
}

func TestPreferredName(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	for label, want := range map[string]string{"pc-default": "pc-default", "Not valid": "", "default": "", "pc:1": "", "": ""} {
		push(t, url, "bob/x", image(t, []v1.Layer{gzipLayer(t, regular("a", label))}, modelsLabel, "pc-x86-64", preferredLabel, label))
		img, err := l.Fetch(t.Context(), mustRef(t, "bob/x"), nil)
		if err != nil || img.Preferred != want {
			t.Errorf("%q became %q, %v, want %q", label, img.Preferred, err, want)
		}
	}
}

func TestManifestList(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	variant := func(arch string) mutate.IndexAddendum {
		img := image(t, []v1.Layer{gzipLayer(t, regular("arch", arch))}, modelsLabel, "x")
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	index := mutate.AppendManifests(empty.Index, variant("s390x"), variant("arm64"), variant("amd64"), variant("arm"))
	for ref, arch := range map[string]string{pcDefault: "amd64", "waltplatform/rpi-3-b-default": "arm64", "waltplatform/rpi-2-b-default": "arm"} {
		push(t, url, ref, index)
		img, err := l.Fetch(t.Context(), mustRef(t, ref), nil)
		if err != nil {
			t.Fatal(err)
		}
		if digestOf(t, index) == img.Digest {
			t.Error("the digest is that of the list")
		}
		if img.Variant != "linux/"+arch && img.Variant != "linux/"+arch+"/v7" {
			t.Errorf("the variant is %q, want that of %s", img.Variant, arch)
		}
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree, "arch", arch)
	}
}

func manyModels(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("model-%d", i))
	}
	return strings.Join(all, ",")
}

// What is not called after a model is for the models of its label.
func TestManifestListOfAnyName(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	l.SetModels(map[Model]string{"visionfive-2": "linux/riscv64"})
	list := func(models string, archs ...string) v1.ImageIndex {
		var all []mutate.IndexAddendum
		for _, arch := range archs {
			img := image(t, []v1.Layer{gzipLayer(t, regular("arch", arch))}, modelsLabel, models)
			p := v1.Platform{OS: "linux"}
			p.Architecture, p.Variant, _ = strings.Cut(arch, "/")
			all = append(all, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
		}
		return mutate.AppendManifests(empty.Index, all...)
	}
	for _, c := range []struct {
		ref, models, want string
		archs             []string
	}{
		{"bob/pi", "rpi-3-b", "linux/arm64", []string{"amd64", "arm", "arm64"}},
		{"bob/pi2", "rpi-2-b", "linux/arm/v7", []string{"amd64", "arm64", "arm"}},
		{"bob/pi1", "rpi-b", "linux/arm/v6", []string{"arm/v7", "arm/v5", "arm/v6"}},
		{"bob/old-pi", "rpi-b", "linux/arm/v5", []string{"arm/v7", "arm/v5"}},
		{"bob/pis", "rpi-3-b,rpi-zero", "linux/arm/v6", []string{"arm64", "arm/v7", "arm/v6"}},
		{"bob/old-pc", "pc-x86-64,pc-x86-32", "linux/386", []string{"amd64", "386"}},
		{"bob/riscv", "visionfive-2", "linux/riscv64", []string{"amd64", "riscv64"}},
		{"bob/pi64", "rpi-4-b", "linux/arm64", []string{"amd64", "arm64"}},
		{"bob/pc", "pc-x86-64", "linux/amd64", []string{"arm", "amd64"}},
		{"bob/board", "some-board", "linux/arm/v7", []string{"arm"}},
	} {
		push(t, url, c.ref, list(c.models, c.archs...))
		link := Link{"lab", mustRef(t, c.ref)}
		img, err := l.FetchLink(t.Context(), link, "", nil)
		if err != nil || img.Variant != c.want {
			t.Errorf("%s: the variant is %q, %v, want %s", c.ref, img.Variant, err, c.want)
		}
		looked, err := l.Look(t.Context(), link, "", untold)
		if err != nil || looked.Digest != img.Digest || looked.Variant != img.Variant {
			t.Errorf("%s: a look sees %+v, %v, want %+v", c.ref, looked, err, img)
		}
	}
	push(t, url, "bob/pc-only", list("pc-x86-64", "arm"))
	_, err := l.Look(t.Context(), Link{"lab", mustRef(t, "bob/pc-only")}, "", untold)
	wantFault(t, err, "no variant for pc-x86-64 (linux/amd64 or linux/386), only for: linux/arm/v7")
	got, err := l.FetchLink(t.Context(), Link{"lab", mustRef(t, "bob/pc-only")}, "linux/arm/v7", nil)
	if err != nil || got.Variant != "linux/arm/v7" {
		t.Errorf("chosen by hand: %+v, %v", got, err)
	}
	push(t, url, "bob/single", pcImage(t, "x"))
	_, err = l.FetchLink(t.Context(), Link{"lab", mustRef(t, "bob/single")}, "linux/arm/v7", nil)
	wantFault(t, err, "is for linux/amd64 alone, not for linux/arm/v7")
	if _, err := l.FetchLink(t.Context(), Link{"lab", mustRef(t, "bob/single")}, "linux/amd64", nil); err != nil {
		t.Error(err)
	}
	push(t, url, "bob/both", list("rpi-b,rpi-3-b", "arm64", "arm/v7"))
	_, err = l.Look(t.Context(), Link{"lab", mustRef(t, "bob/both")}, "", untold)
	wantFault(t, err, "no variant for rpi-b (linux/arm/v6 or linux/arm/v5) and rpi-3-b (linux/arm64 or")
	l.Present = func(context.Context) ([]Model, error) { return []Model{"rpi-3-b"}, nil }
	if img, err := l.Look(t.Context(), Link{"lab", mustRef(t, "bob/both")}, "", untold); err != nil || img.Variant != "linux/arm64" {
		t.Errorf("with one of its models here: %+v, %v", img, err)
	}
	_, err = l.Look(t.Context(), Link{"lba", mustRef(t, "bob/pc")}, "", untold)
	wantFault(t, err, "unknown image location lba")
	if hint := fault.As(err).Hint; !strings.Contains(hint, "did you mean lab") || !strings.HasSuffix(hint, "the locations are: walt, lab") {
		t.Errorf("the hint is %q", hint)
	}
}

// Of an entry that does not tell its platform, the config does; a list in a list
// is followed, and what is no image is left out.
func TestManifestListsAsTheyCome(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	of := func(arch string) v1.Image {
		img := image(t, []v1.Layer{gzipLayer(t, regular("arch", arch))}, modelsLabel, "rpi-4-b")
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c = c.DeepCopy()
		c.Architecture = arch
		if img, err = mutate.ConfigFile(img, c); err != nil {
			t.Fatal(err)
		}
		return img
	}
	silent := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: of("amd64")}, mutate.IndexAddendum{Add: of("arm64")})
	nested := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: of("note"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
		mutate.IndexAddendum{Add: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: silent})})
	for name, index := range map[string]v1.ImageIndex{"bob/silent": silent, "bob/nested": nested} {
		push(t, url, name, index)
		img, err := l.FetchLink(t.Context(), Link{"lab", mustRef(t, name)}, "", nil)
		if err != nil || img.Variant != "linux/arm64" || img.Digest != digestOf(t, of("arm64")) {
			t.Errorf("%s: %+v, %v", name, img, err)
			continue
		}
		d, err := l.Inspect(img)
		if err != nil || d.Platform != "linux/arm64" || len(d.Unfit) > 0 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		img.Models = append(img.Models, "rpi-b")
		if d, err = l.Inspect(img); err != nil || !slices.Equal(d.Unfit, []Model{"rpi-b"}) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}
