// Package machines tells stories of nodes that are real machines: QEMU, a kernel of
// Debian, the built server, the real ssh client. It runs where WALT_MACHINES=1 is set,
// as `make test-boot` does, and as a whole where that is "long", as `make
// test-machines` does.
package machines

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/e2e/lab"
	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// world is a lab whose virtual nodes are machines.
type world struct {
	*lab.Lab
	t        *testing.T
	registry string // URL
}

// newWorld starts a lab with the users alice and bob, and these images of theirs and
// of nobody, from content by path. More lines may be added to the section [virtual].
func newWorld(t *testing.T, images map[string]map[string]string, more ...string) *world {
	t.Helper()
	boottest.Need(t, "docker-registry", "busybox", "ssh")
	dir, err := os.MkdirTemp("", "wm") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	registry, err := lab.NewRegistry(dir)
	if err == nil {
		err = registry.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Stop(); err != nil {
			t.Error(err)
		}
	})
	for name, files := range images {
		push(t, registry.URL(), name, files)
	}
	waltd, err := build()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(dir, waltd, registry)
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	virtual := strings.Join(append([]string{`kind = "qemu"`}, more...), "\n")
	config = bytes.ReplaceAll(config, []byte(lab.Simulated), []byte(virtual))
	if err := errors.Join(os.WriteFile(l.Config, config, 0o644), l.Start()); err != nil {
		t.Fatal(err)
	}
	w := &world{l, t, registry.URL()}
	t.Cleanup(w.end)
	if err := l.Add("", "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	return w
}

// push makes an image with a kernel, unless its name says that it is hollow, and with some
// content by path.
func push(t *testing.T, registry, name string, files map[string]string) {
	t.Helper()
	layers := []v1.Layer{static.NewLayer(boottest.Busybox(t, false, files), types.OCIUncompressedLayer)}
	if !strings.Contains(name, "hollow") {
		layers = append(layers, layerOf(t, boottest.SmallKernel(t)))
	}
	if _, bare := files[bare]; bare {
		layers = append(layers, withoutNFS(t))
	}
	imagetest.Push(t, registry, name+":latest", imagetest.Image(t, layers, "walt.node.models", "pc-x86-64", "walt.image.preferred-name", "os"))
}

// build builds the server, once for all stories.
var build = sync.OnceValues(func() (string, error) { return lab.Build(buildDir, false) })

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "wm"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(status)
}

// kernelLayer has the kernel of boottest, uncompressed, with all of its modules. More
// arguments are for tar.
func kernelLayer(t *testing.T, more ...string) v1.Layer {
	t.Helper()
	return layerOf(t, boottest.Kernel(t), more...)
}

// layerOf has boot and lib of a directory.
func layerOf(t *testing.T, dir string, more ...string) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command("tar", append(more, "-C", dir, "--owner=0", "--group=0", "-c", "boot", "lib")...)
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(out.Bytes(), types.OCIUncompressedLayer)
}

// end ends the server and all machines.
func (w *world) end() {
	if w.t.Failed() {
		w.tell()
	}
	if w.Running() {
		if err := w.Stop(); err != nil {
			w.t.Error(err)
		}
	}
	for _, id := range w.processes() {
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			w.t.Error(err)
		}
	}
}

// tell logs what there is to know of a test that failed.
func (w *world) tell() {
	lines, _ := filepath.Glob(filepath.Join(w.Data(), "machines", "*", "tty.log"))
	for _, name := range append(lines, w.Log()) {
		b, err := os.ReadFile(name)
		w.t.Logf("%s: %v\n%s", name, err, b[max(0, len(b)-4000):])
	}
}

// processes are those of all machines that run.
func (w *world) processes() (ids []int) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.Data(), "machines", "*", "pid"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		id, bad := strconv.Atoi(strings.TrimSpace(string(text)))
		if errors.Join(err, bad) != nil {
			w.t.Fatal(err, bad)
		}
		if syscall.Kill(id, 0) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// does runs a command as a user, which must succeed, and returns what it prints.
func (w *world) does(user, command string) string {
	w.t.Helper()
	out, err := w.Run("", user, strings.Fields(command)...)
	if err != nil {
		w.t.Fatalf("%s: %s: %v", user, command, err)
	}
	return out
}

// until waits until what a command prints satisfies.
func (w *world) until(user, command, want string) {
	w.t.Helper()
	var out string
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var err error
		if out, err = w.Run("", user, strings.Fields(command)...); err == nil && strings.Contains(out, want) {
			return
		}
	}
	w.t.Fatalf("%s: %s: %q, and no %q in time", user, command, out, want)
}

// bootID is the one of the kernel that runs on the machine.
func (w *world) bootID(user, node string) string {
	w.t.Helper()
	return w.does(user, "node run "+node+" cat /proc/sys/kernel/random/boot_id")
}

func TestLifeOfAMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"etc/name": "default\n"},
		"alice/blue":                     {"etc/name": "blue\n"},
		"alice/hollow":                   {"etc/name": "hollow"},
	})
	// It comes up with its own name, and what its image holds.
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 hostname; cat /etc/name"); out != "vm1\ndefault\n" {
		t.Errorf("it is %q", out)
	}

	// What its programs say is kept.
	w.does("alice", "node run vm1 echo '<13>exp1: hello' | nc -w 1 server 514")
	w.until("alice", "log show --nodes vm1", "vm1 exp1: hello")

	// The server is killed and comes back: the machine goes on, and is not taken for
	// one that was down.
	w.does("alice", "node run vm1 echo here > /root/file")
	before := w.bootID("alice", "vm1")
	if err := errors.Join(w.Kill(), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait vm1")
	if after := w.bootID("alice", "vm1"); after != before || w.does("alice", "node run vm1 cat /root/file") != "here\n" {
		t.Error("a restart of the server rebooted the machine")
	}
	if log := w.does("alice", "log show --type state"); strings.Count(log, "vm1") != 1 {
		t.Errorf("the log says: %s", log)
	}

	// Another image: nothing of the one before is left.
	w.does("alice", "image clone lab:alice/blue")
	w.does("alice", "node boot vm1 blue")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 cat /etc/name; ls /root"); out != "blue\n" {
		t.Errorf("after another image was booted: %q", out)
	}

	// A reboot that is typed on the machine.
	before = w.bootID("alice", "vm1")
	if _, err := w.Run("", "alice", "node", "run", "vm1", "reboot"); err != nil {
		t.Log("reboot:", err) // the connection may end first
	}
	w.until("alice", "log show --type state", "rebooted from inside")
	w.does("alice", "node wait vm1")
	if after := w.bootID("alice", "vm1"); after == before {
		t.Error("it did not reboot")
	}

	// An image that cannot boot is refused.
	w.does("alice", "image clone lab:alice/hollow")
	w.refuses("alice", "node boot vm1 hollow", "it has no kernel")

	// A colleague takes it: what the owner before ran there is cut.
	w.does("alice", "node boot vm1 blue")
	w.does("alice", "node wait vm1")
	shell := w.SSH("alice", nil, "node", "run", "vm1", "echo begun; sleep 1000")
	var said bytes.Buffer
	shell.Stderr = &said
	out, err := shell.StdoutPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanf(out, "begun\n"); err != nil {
		t.Fatal(err)
	}
	w.does("bob", "node acquire vm1 --yes")
	if err := w.Finish(shell); err == nil || !strings.Contains(said.String(), "vm1 changed hands") {
		t.Errorf("what alice ran there: %v, %s", err, &said)
	}
	w.does("bob", "node wait vm1")
	if out := w.does("bob", "node run vm1 cat /etc/name"); out != "default\n" {
		t.Errorf("bob has %q", out)
	}

	// A machine that is killed from outside is off.
	for _, id := range w.processes() {
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	w.until("bob", "node show vm1", "power cut: its process on the server was killed")
	if out := w.does("bob", "node show vm1 --json"); !strings.Contains(out, `"state":"off"`) {
		t.Errorf("killed from outside, it is %s", out)
	}

	// Nothing is left of a node that is removed.
	w.does("bob", "node reboot vm1")
	w.does("bob", "node wait vm1")
	w.does("bob", "node remove vm1")
	if ids := w.processes(); len(ids) > 0 {
		t.Errorf("machines still run: %v", ids)
	}
	if left, err := os.ReadDir(filepath.Join(w.Data(), "machines")); err != nil || len(left) > 0 {
		t.Errorf("there is still %v, %v", left, err)
	}
}
