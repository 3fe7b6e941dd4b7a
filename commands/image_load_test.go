package commands

import (
	"archive/tar"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
)

// packed is an archive of images, each for the models that are said behind its name.
func packed(t testing.TB, images ...string) string {
	t.Helper()
	var files []*tar.Header
	var all []v1.Descriptor
	for _, is := range images {
		name, models, _ := strings.Cut(is, " ")
		labels := []string{"walt.node.models", models}
		if models == "" {
			labels = nil
		}
		img := imagetest.Image(t, []v1.Layer{imagetest.TarLayer(t, imagetest.Regular("etc/name", is))}, labels...)
		files = append(files, imagetest.Blobs(t, img)...)
		all = append(all, imagetest.Described(t, img, "io.containerd.image.name", name))
	}
	return string(imagetest.Archive(t, append(files, imagetest.Layout(t, all...)...)...))
}

// packedImage is an archive of an image for all nodes of a test lab.
func packedImage(t testing.TB) string { return packed(t, "os:latest rpi-3-b,pc-x86-64") }

// loads checks what comes of sending an archive.
func (lab *testLab) loads(line, archive string, status int, stdout string, stderr ...string) {
	lab.t.Helper()
	got := lab.run("bob", line, archive)
	if got.status != status || !strings.Contains(got.stdout, stdout) || stdout == "" && got.stdout != "" {
		lab.t.Errorf("%s: %+v, want %q", line, got, stdout)
	}
	for _, want := range stderr {
		if !strings.Contains(got.stderr, want) {
			lab.t.Errorf("%s: %q, want %q", line, got.stderr, want)
		}
	}
}

func TestImageLoad(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "image show")
	pc, both := packed(t, "os pc-x86-64"), packed(t, "os rpi-3-b,pc-x86-64")
	lab.loads("image load os", pc, StatusDone, "os is loaded: ", "load os: sha256:", " done, ")
	if got := lab.ok("bob", "image inspect os"); !strings.Contains(got, "pc-x86-64") || !strings.Contains(got, "linux/amd64") {
		t.Error(got)
	}
	if got := lab.ok("bob", "log show --type image"); !strings.Contains(got, "bob/os") || !strings.Contains(got, "loaded from an archive, sha256:") {
		t.Error(got)
	}
	lab.loads("image load os", both, StatusFailed, "", "you have an image os already\n  overwrite it with: docker save IMAGE | ssh walt@SERVER image load --force os\n")
	lab.loads("image load --force os", both, StatusDone, "for rpi-3-b, pc-x86-64\n", "os is for linux/amd64, which rpi-3-b cannot run.")

	several := packed(t, "a pc-x86-64", "b pc-x86-64")
	lab.loads("image load two", several, StatusFailed, "", "the archive has several images: a, b; nothing changed\n  say which of them: image load --image IMAGE NAME\n")
	lab.loads("image load two --image b", several, StatusDone, "two is loaded: ")
	lab.loads("image load bare", packed(t, "os"), StatusFailed, "", "bare cannot be loaded: the one in the archive has no label walt.node.models", "LABEL walt.node.models=")
	lab.loads("image load bare", "", StatusFailed, "", "bare cannot be loaded: nothing came on standard input; nothing changed\n  send it again: docker save IMAGE | ssh walt@SERVER image load NAME\n")
	lab.loads("image load bare --platform linux/arm64", pc, StatusFailed, "", "is for linux/amd64 alone, not for linux/arm64")
	lab.loads("image load bare --platform x", pc, StatusUsage, "", `"x" is not a platform`)
	lab.loads("image load UPPER", pc, StatusUsage, "", `invalid image name "UPPER"`)
	if got := lab.ok("bob", "image show --names-only"); strings.Contains(got, "bare") {
		t.Errorf("there is %s", got)
	}
}

// Nodes that boot an image are not rebooted without consent, which cannot be asked for,
// and is missed before the archive is read.
func TestImageLoadOverNodes(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	both, board := packed(t, "os rpi-3-b,pc-x86-64"), packed(t, "other rpi-3-b")
	lab.loads("image load os", both, StatusDone, "os is loaded")
	lab.ok("bob", "node boot pc-1,rpi-1 os")
	lab.loads("image load --force os", "no archive at all", StatusInUse, "", "pc-1 boots this image.\nrpi-1 boots this image.\n",
		"not confirmed; nothing changed\n  nobody can be asked while standard input is the archive; --yes answers in advance\n")
	lab.loads("image load --force --yes os", board, StatusFailed, "", "os is booted by pc-1, and the new content is only for rpi-3-b; nothing changed")
	lab.loads("image load --force --yes os", packed(t, "new rpi-3-b,pc-x86-64"), StatusDone, "pc-1")
	lab.loads("image load --force --yes os", packed(t, "new rpi-3-b,pc-x86-64"), StatusDone, "os is loaded")
}

// Nobody types an archive.
func TestImageLoadOnTerminal(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for line, begins := range map[string]string{"image load os": " ", "image load --force --image b os": "\n    "} {
		got := lab.runIn(t.Context(), lab.terminal("bob"), "walt "+line)
		want := "walt: an archive is read from standard input, and nobody can type one\n  send it instead:" + begins + "docker save IMAGE | ssh walt@SERVER " + line + "\n"
		if got.status != StatusUsage || got.stderr != want {
			t.Errorf("got %+v", got)
		}
	}
}

// A load is among the transfers, and who cancels it need not send the rest.
func TestImageLoadCancelled(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	archive := packedImage(t)
	r, w := io.Pipe()
	defer w.Close()
	s := lab.session("bob", "")
	s.In = r
	over := make(chan answer, 1)
	go func() { over <- lab.runIn(context.Background(), s, "image load os") }() // ends with the job
	if _, err := io.WriteString(w, archive[:len(archive)/2]); err != nil {
		t.Fatal(err)
	}
	if got := lab.ok("carol", "advanced jobs"); !strings.Contains(got, "1   load os  bob  running\n") {
		t.Errorf("the jobs are %s", got)
	}
	lab.ok("bob", "advanced jobs cancel 1")
	select {
	case got := <-over:
		if got.status != StatusInterrupted || !strings.Contains(got.stderr, "the transfer was cancelled") {
			t.Errorf("got %+v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	if got := lab.run("bob", "image inspect os", ""); got.status != StatusFailed {
		t.Errorf("there is %+v", got)
	}
}

// Without any registry, a lab has the default images that an administrator loads.
func TestSetDefaultImage(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "device add n9 --mac 52:54:00:00:00:99 --model rpi-5-b")
	got := lab.run("alice", "image load os", packed(t, "os rpi-5-b,rpi-4-b"))
	if got.status != StatusDone {
		t.Fatal(got)
	}
	lab.loads("node create x1 --model rpi-5-b --simulated", "", StatusFailed, "", `an administrator makes one of their images the default one: see "advanced set-default-image"`)
	lab.loads("advanced set-default-image os", "", StatusFailed, "", "only administrators choose default images")
	want := "os is the default image of rpi-5-b now\nos is the default image of rpi-4-b now\n"
	if got := lab.ok("alice", "advanced set-default-image os"); got != want {
		t.Errorf("got %q", got)
	}
	if got := lab.ok("bob", "node show n9"); !strings.Contains(got, "(free)") {
		t.Errorf("it is %s", got)
	}
	want = "os is the default image of rpi-5-b already\nos is the default image of rpi-4-b already\n"
	if got := lab.ok("alice", "advanced set-default-image os"); got != want {
		t.Errorf("got %q", got)
	}
	if got := lab.run("alice", "image load --force os", packed(t, "new rpi-5-b,rpi-4-b")); got.status != StatusDone {
		t.Fatal(got)
	}
	if got := lab.ok("alice", "advanced set-default-image os"); !strings.Contains(got, "os is the default image of rpi-5-b now; the one before is kept as rpi-5-b-default:2026") {
		t.Errorf("got %q", got)
	}
}
