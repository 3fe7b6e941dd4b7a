package machines

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// sparseLayer has one file of so many bytes that ends with a word: all else is not
// even in the archive.
func sparseLayer(t *testing.T, size int64, word string) v1.Layer {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(word), size-int64(len(word)))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command("tar", "-C", dir, "--owner=0", "--group=0", "--sparse", "--format=posix", "-c", "large")
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(out.Bytes(), types.OCIUncompressedLayer)
}

// runs is the digest of the image that a node runs, from its kernel to its root.
func (w *world) runs(user, name string) string {
	w.t.Helper()
	var all struct {
		Nodes []struct{ Running *struct{ Digest string } }
	}
	if err := json.Unmarshal([]byte(w.does(user, "node show "+name+" --json")), &all); err != nil || len(all.Nodes) != 1 {
		w.t.Fatal(all, err)
	}
	if all.Nodes[0].Running == nil {
		return ""
	}
	return all.Nodes[0].Running.Digest
}

// An image much larger than the memory of a machine boots it; nothing of one image is
// left when the next one is booted; and whatever becomes of images and of the server
// meanwhile, one boot is one image.
func TestImagesOfAMachine(t *testing.T) {
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"etc/name": "default\n"},
		"alice/blue":                     {"etc/name": "blue\n"},
		"alice/green":                    {"etc/name": "green\n"},
	})
	const size = 8 << 30
	red := static.NewLayer(boottest.Busybox(t, false, map[string]string{"etc/name": "red\n", "only-red": "x"}), types.OCIUncompressedLayer)
	imagetest.Push(t, w.Registry.URL(), "alice/red:latest", imagetest.Image(t, []v1.Layer{red, kernelLayer(t), sparseLayer(t, size, "the end")}, "walt.node.models", "pc-x86-64"))
	for _, name := range []string{"red", "blue", "green"} {
		w.does("alice", "image clone lab:alice/"+name)
	}
	digests := map[string]string{}
	for _, name := range []string{"red", "blue", "green"} {
		digests[name] = w.digest("alice", name)
	}
	w.does("alice", "node create vm --model pc-x86-64 --ram 256M")
	w.does("alice", "node boot vm red")
	w.up("alice", "vm")
	if out := w.does("alice", "node run vm stat -c %s /large; tail -c 7 /large; echo; cat /etc/name; echo more > /etc/name; echo x > /root/left"); out != "8589934592\nthe end\nred\n" {
		t.Errorf("the large image is %q", out)
	}
	w.does("alice", "node boot vm blue")
	w.up("alice", "vm")
	if out := w.does("alice", "node run vm cat /etc/name; ls /root; ls -d /large /only-red 2> /dev/null; grep -c red /proc/mounts; true"); out != "blue\n0\n" {
		t.Errorf("of the image before there is: %q", out)
	}
	if got := w.runs("alice", "vm"); got != digests["blue"] {
		t.Errorf("it runs %s, want %s", got, digests["blue"])
	}

	// In the middle of a boot the server is killed: the boot goes on.
	w.does("alice", "node reboot vm")
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.up("alice", "vm")
	if out := w.does("alice", "node run vm cat /etc/name"); out != "blue\n" || w.runs("alice", "vm") != digests["blue"] {
		t.Errorf("after the server was killed: %q", out)
	}

	// In the middle of a boot the image is another one, and cannot be removed: whoever
	// boots it is named.
	w.does("alice", "node reboot vm")
	if _, err := w.Run("", "alice", "image", "remove", "blue"); err == nil || !strings.Contains(err.Error(), "vm") {
		t.Errorf("removed while it is booted: %v", err)
	}
	w.does("alice", "image clone lab:alice/green blue --force --yes")
	w.until("alice", "node run vm cat /etc/name", "green\n")
	if got := w.runs("alice", "vm"); got != digests["green"] {
		t.Errorf("it runs %s, want %s", got, digests["green"])
	}
	if out := w.does("alice", "node run vm ls -d /large /only-red 2> /dev/null; cat /etc/name"); out != "green\n" {
		t.Errorf("after its image was replaced: %q", out)
	}
}
