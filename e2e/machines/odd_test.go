package machines

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// odd is an image that others than we made, and what is to be true of its machine.
type odd struct {
	name   string
	layers []v1.Layer
	is     map[string]string // what commands print there
}

// squeezedKernel is the kernel of boottest with compressed modules, as Alpine and Arch
// have them: half with xz, half with zstd.
func squeezedKernel(t *testing.T) v1.Layer {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	c := exec.Command("sh", "-c", `set -e
cp -a "$1"/. tree
find tree -name '*.ko' | sort | awk 'NR % 2' | xargs -P2 -n50 xz --check=crc32 -1
find tree -name '*.ko' | xargs -P2 -n50 zstd -q --rm -1
for v in tree/lib/modules/*; do depmod -b tree "${v##*/}"; done
tar -C tree --owner=0 --group=0 -c boot lib`, "squeeze", boottest.SmallKernel(t))
	c.Dir, c.Stdout, c.Stderr = dir, &out, os.Stderr
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(out.Bytes(), types.OCIUncompressedLayer)
}

// alpine is a layout as Alpine's: busybox, compressed modules, and nothing that is
// called an init.
func alpine(t *testing.T) odd {
	boottest.Need(t, "xz", "zstd")
	busybox := static.NewLayer(boottest.Busybox(t, false, map[string]string{"etc/alpine-release": "3.99\n"}), types.OCIUncompressedLayer)
	return odd{
		"alpine",
		[]v1.Layer{busybox, squeezedKernel(t)},
		map[string]string{"cat /etc/alpine-release /proc/1/comm": "3.99\nwalt-init\n"},
	}
}

// start has a new machine boot an odd image, with these settings of the node.
func (w *world) start(o odd, settings ...string) {
	w.t.Helper()
	w.does("alice", "node create vm-"+o.name+" --model pc-x86-64")
	if len(settings) > 0 {
		w.does("alice", "node config vm-"+o.name+" "+strings.Join(settings, " "))
	}
	w.boot(o)
}

// boot has the machine that is there boot it.
func (w *world) boot(o odd) {
	w.t.Helper()
	imagetest.Push(w.t, w.Registry.URL(), "alice/"+o.name+":latest", imagetest.Image(w.t, o.layers, "walt.node.models", "pc-x86-64"))
	w.does("alice", "image clone lab:alice/"+o.name)
	w.does("alice", "node boot vm-"+o.name+" "+o.name)
}

// up waits until nodes are up, for as long as many machines take that boot at once.
func (w *world) up(user, nodes string) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(5 * boottest.Wait); time.Now().Before(end); {
		if _, err = w.Run("", user, "node", "wait", nodes, "--timeout", "60s"); err == nil {
			return
		}
	}
	w.t.Fatal(err)
}

func (w *world) check(o odd) {
	w.t.Helper()
	for command, want := range o.is {
		if out := w.does("alice", "node run vm-"+o.name+" "+command); out != want {
			w.t.Errorf("%s: %s prints %q, want %q", o.name, command, out, want)
		}
	}
}

// What boots is any image; this one is the cheapest that is odd.
func TestOddImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	o := alpine(t)
	w.start(o)
	w.up("alice", "vm-"+o.name)
	w.check(o)
}
