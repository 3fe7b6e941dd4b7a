package images

import (
	"reflect"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// The content of an image that a machine runs stays, though its record is gone.
func TestHold(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	img := image(t, []v1.Layer{gzipLayer(t, regular("file", "content"))}, modelsLabel, "x")
	img, err := mutate.Config(img, v1.Config{
		Labels: map[string]string{modelsLabel: "x"}, Entrypoint: []string{"/bin/serve"}, Cmd: []string{"--port", "80"},
		Env: []string{"A=b"}, WorkingDir: "/srv", User: "worker:1000",
		Volumes: map[string]struct{}{"/data": {}, "/cache": {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	push(t, url, "bob/one", img)
	got, err := l.Fetch(t.Context(), mustRef(t, "bob/one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tree, run, release, err := l.Hold(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	want := Runtime{
		Args: []string{"/bin/serve", "--port", "80"}, Env: []string{"A=b"}, Dir: "/srv", User: "worker:1000",
		Volumes: []string{"/cache", "/data"},
	}
	if !reflect.DeepEqual(run, want) {
		t.Errorf("it runs %+v, want %+v", run, want)
	}
	later(l, 2*time.Hour)
	collect(t, l, false)
	wantContent(t, tree, "file", "content")
	release()
	later(l, 4*time.Hour)
	collect(t, l, false)
	if left := stored(t, l); left != (Garbage{}) {
		t.Errorf("%+v is left of what nobody holds", left)
	}
	_, _, _, err = l.Hold(t.Context(), got.Digest)
	wantFault(t, err, "is not on this server")
}
