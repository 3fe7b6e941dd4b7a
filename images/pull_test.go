package images

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/fault"
	"walt/images/content"
	"walt/journal"
)

const pcDefault = "waltplatform/pc-x86-64-default"

// inLab is a library that looks in an in-process registry.
func inLab(t testing.TB) (*testLibrary, *faulty, string) {
	t.Helper()
	l, f := newLibrary(t), newFaulty()
	s := serve(t, f)
	lookIn(t, l, s.URL)
	return l, f, s.URL
}

func TestFetch(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), gzipLayer(t, regular("b", "2"))},
		modelsLabel, " pc-x86-64, pc-x86-32 ,pc-x86-64", preferredLabel, "pc-default")
	push(t, url, pcDefault, img)

	got, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	m, _ := img.Manifest()
	for _, d := range append(m.Layers, m.Config) {
		size += d.Size
	}
	raw, _ := img.RawManifest()
	want := Image{
		Ref: DefaultRef("pc-x86-64"), Digest: digestOf(t, img), Models: []Model{"pc-x86-64", "pc-x86-32"},
		Preferred: "pc-default", Created: created, Size: size + int64(len(raw)),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	tree, err := l.Files(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "a", "1")
	wantContent(t, tree, "b", "2")

	before := f.Blobs.Load()
	if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil); err != nil || f.Blobs.Load() != before {
		t.Errorf("what is here was downloaded again, %v", err)
	}
}

func TestRegistriesAreAskedInOrder(t *testing.T) {
	t.Parallel()
	first, second := newFaulty(), newFaulty()
	one, two := serve(t, first), serve(t, second)
	down := "http://" + closedPort(t)
	push(t, two.URL, "bob/both", pcImage(t, "second"))
	push(t, two.URL, "bob/only-second", pcImage(t, "second"))
	push(t, one.URL, "bob/both", pcImage(t, "first"))
	push(t, one.URL, "bob/broken", image(t, nil, modelsLabel, "x"))
	push(t, two.URL, "bob/broken", pcImage(t, "second"))

	l := newLibrary(t)
	err := l.SetRegistries([]Registry{{Label: "down", URL: down}, {Label: "one", URL: one.URL}, {Label: "two", URL: two.URL}})
	if err != nil {
		t.Fatal(err)
	}
	for ref, motd := range map[string]string{"bob/both": "first", "bob/only-second": "second"} {
		img, err := l.Fetch(t.Context(), mustRef(t, ref), nil)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree, "etc/motd", motd)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/nowhere"), nil)
	wantFault(t, err, "image bob/nowhere", "registry down ("+down+") cannot be reached: connection refused",
		"registry one ("+one.URL+") does not have it", "registry two ("+two.URL+") does not have it")
	// the first that has it counts
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/broken"), nil)
	wantFault(t, err, "the one in registry one", "has no layers")
	if strings.Contains(fault.As(err).Msg, "registry two") {
		t.Errorf("the second registry was asked: %v", err)
	}

	if err := l.SetRegistries(nil); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/both"), nil)
	wantFault(t, err, "no registry is configured")
}

func TestOpenRemovesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	digest := keep(t, l, archive(t, regular("a", "1")))
	if err := os.WriteFile(filepath.Join(l.dir, "tmp", "123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(l.dir, l.store, l.log, l.platforms, l.now)
	if err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, &testLibrary{Library: again, dir: l.dir}); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := again.Files(t.Context(), digest); err != nil {
		t.Error(err)
	}
	_, err = Open("/dev/null/images", l.store, l.log, l.platforms, l.now)
	wantFault(t, err, "/dev/null/images", "cannot be used")
}

func TestAddressesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, url := range []string{"127.0.0.1:5000", "ftp://x", "http://", "http://user:secret@", "http://a b", "://"} {
		err := l.SetRegistries([]Registry{{Label: "lab", URL: url}})
		if err == nil || fault.As(err) != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an error that shows no password", url, err)
		}
	}
}

// What the disk changed is not used again: it is set aside, and comes anew.
func TestDamagedContentComesAnew(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := pcImage(t, "hello")
	push(t, url, pcDefault, img)
	link := Link{"lab", mustRef(t, pcDefault)}
	was, err := l.FetchLink(t.Context(), link, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := content.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range manifest.Blobs() {
		file := filepath.Join(l.dir, "blobs", "sha256", b.Digest.Hex())
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		before := f.Blobs.Load()
		var notes []string
		now, err := l.FetchLink(t.Context(), link, "", func(p Progress) {
			if p.Note != "" {
				notes = append(notes, p.Note)
			}
		})
		if err != nil || !reflect.DeepEqual(now, was) {
			t.Fatalf("got %+v, %v, want %+v", now, err, was)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], string(b.Digest)) || f.Blobs.Load() == before && b.Digest != manifest.Self.Digest {
			t.Errorf("%s: told %q, %d blobs came", b.MediaType, notes, f.Blobs.Load()-before)
		}
		if again, err := os.ReadFile(file); err != nil || content.Sum(again) != b.Digest {
			t.Errorf("%s is not what it was, %v", b.MediaType, err)
		}
		tree, err := l.Files(t.Context(), now.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree, "etc/motd", "hello")
	}
	aside, err := os.ReadDir(filepath.Join(l.dir, "damaged"))
	if err != nil || len(aside) != 3 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	n := 0
	err = l.log.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if strings.Contains(e.Detail, "was damaged on the disk") {
			n++
		}
		return nil
	}))
	if err != nil || n != 3 {
		t.Errorf("%d events, %v", n, err)
	}
}
