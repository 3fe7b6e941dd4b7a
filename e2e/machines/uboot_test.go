package machines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// arm64World is a lab with the default image of virt-arm64, where boards with U-Boot may be
// plugged in. It returns nil where nothing is left to do.
func arm64World(t *testing.T) *world {
	t.Helper()
	boottest.NeedLong(t, "qemu-system-aarch64")
	files := boottest.ARM64(t) // which is downloaded
	if inNetwork(t) {
		return nil
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{}, segment)
	imagetest.Push(t, w.registry, "waltplatform/virt-arm64-default:latest", imagetest.Image(t, []v1.Layer{
		static.NewLayer(boottest.BusyboxOf(t, filepath.Join(files, "bin/busybox"), false, nil), types.OCIUncompressedLayer), layerOf(t, files),
	}, "walt.node.models", "virt-arm64"))
	return w
}

// A board with U-Boot for arm64, of which nobody knows the model: it shows that and waits.
// Told the model, it becomes a free node, boots Debian's kernel with the agent for arm64,
// and does so again when it is rebooted.
func TestUBoot(t *testing.T) {
	w := arm64World(t)
	if w == nil {
		return
	}
	console := board(t, "tap0", "52:52:52:52:52:52") // which this U-Boot has, whatever the machine tells
	began := time.Now()
	awaitConsole(t, console, 1, "its model is not known, tell it: device config device-525252 model=MODEL; it asks again every 5 s")
	t.Logf("it is known after %s", time.Since(began))
	w.does("alice", "device config device-525252 model=virt-arm64")
	w.until("alice", "node show --all --json", `"name":"device-525252"`)
	began = time.Now()
	w.does("alice", "node wait device-525252")
	t.Logf("it is up %s later", time.Since(began))
	if out := w.does("alice", "node run device-525252 hostname; uname -m"); out != "device-525252\naarch64\n" {
		t.Errorf("it is %q", out)
	}
	before := w.bootID("alice", "device-525252")
	w.does("alice", "node reboot device-525252")
	w.does("alice", "node wait device-525252")
	if after := w.bootID("alice", "device-525252"); after == before {
		t.Error("it was not rebooted")
	}
}

// One that asks for a configuration as extlinux has it, and for nothing else, waits for that
// longer than it asks again, and boots.
func TestExtlinux(t *testing.T) {
	w := arm64World(t)
	if w == nil {
		return
	}
	console := board(t, "tap0", "52:52:52:52:52:52")
	awaitConsole(t, console, 1, "Hit any key to stop autoboot")
	enters := typist(t, console)
	enters("\n")
	awaitConsole(t, console, 1, "=> ")
	enters("setenv autoload no; dhcp; pxe get && pxe boot\n")
	awaitConsole(t, console, 1, "Loading: *\b###") // a mark for 30 s: it would not ask longer than 50
	w.does("alice", "device config device-525252 model=virt-arm64")
	w.until("alice", "node show --all --json", `"name":"device-525252"`)
	w.does("alice", "node wait device-525252")
}

// board is a board with U-Boot that is on the network. It returns the file of its console.
func board(t *testing.T, name, mac string) (console string) {
	t.Helper()
	return plug(t, name, "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-accel", "tcg,thread=multi",
		"-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin", "-device", "virtio-net-pci,netdev=n,romfile=,mac="+mac)
}

// awaitConsole waits until a machine has written some words, so many times.
func awaitConsole(t *testing.T, console string, times int, words string) {
	t.Helper()
	var b []byte
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		b, _ = os.ReadFile(console) // there is none yet
		if strings.Count(string(b), words) >= times {
			return
		}
	}
	t.Fatalf("it does not show %q in time: %s", words, b)
}
