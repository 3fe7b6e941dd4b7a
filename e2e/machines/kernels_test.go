package machines

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// push publishes an image of these layers, with what it is configured to run.
func (w *world) push(name string, run v1.Config, layers ...v1.Layer) {
	w.t.Helper()
	img := imagetest.Image(w.t, layers, "walt.node.models", "pc-x86-64")
	config, err := img.ConfigFile()
	if err != nil {
		w.t.Fatal(err)
	}
	run.Labels = config.Config.Labels
	if img, err = mutate.Config(img, run); err != nil {
		w.t.Fatal(err)
	}
	imagetest.Push(w.t, w.registry, name+":latest", img)
}

// plain is an uncompressed layer.
func plain(archive []byte) v1.Layer { return static.NewLayer(archive, types.OCIUncompressedLayer) }

// crippled has the file modules.dep of the kernel's modules, without one of them.
func crippled(t *testing.T, module string) v1.Layer {
	t.Helper()
	out, err := exec.Command("sh", "-c", "cd "+boottest.SmallKernel(t)+"/lib/modules && echo */modules.dep && grep -v '/"+module+".ko' */modules.dep").Output()
	if err != nil {
		t.Fatal(err)
	}
	name, dep, _ := strings.Cut(string(out), "\n")
	return plain(imagetest.Archive(t, imagetest.Regular("lib/modules/"+name, dep)))
}

// able is a layer in which grep is a program that may do what ping may.
func able(t *testing.T) v1.Layer {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	grep := imagetest.Capable(imagetest.Regular("bin/grep", string(b)), imagetest.CanPing)
	grep.Mode = 0o755
	return plain(imagetest.Archive(t, grep))
}

// refuses wants a command to fail, and to say why.
func (w *world) refuses(user, command string, want ...string) {
	w.t.Helper()
	_, err := w.Run("", user, strings.Fields(command)...)
	for _, words := range want {
		if err == nil || !strings.Contains(err.Error(), words) {
			w.t.Errorf("%s: %s: %v, want %q", user, command, err, words)
		}
	}
}

// configure adds a line to the configuration, which the server reads at once.
func (w *world) configure(line string) {
	w.t.Helper()
	f, err := os.OpenFile(w.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(line + "\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = w.Signal(syscall.SIGHUP)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// What an image has not, and what another one lends it.
func TestKernels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"etc/name": "default\n", "etc/secret": "of the lab"},
	})
	work := "#!/bin/sh\necho \"$1, $A, $(id -u) $(id -G) in $PWD\" > /tmp/out\n"
	w.push("alice/bare", v1.Config{Entrypoint: []string{"work"}, Cmd: []string{"an argument"}, Env: []string{"A=b c"}, User: "worker", WorkingDir: "/srv/work"},
		plain(boottest.Busybox(t, false, map[string]string{"etc/name": "bare\n", "bin/work": work, "usr/lib/own": "its own\n"})),
		plain(imagetest.Archive(t, imagetest.Symlink("lib", "usr/lib"), &tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777})), able(t))
	w.push("alice/crippled", v1.Config{}, plain(boottest.Busybox(t, false, nil)), layerOf(t, boottest.SmallKernel(t)), crippled(t, "virtio_net"))
	w.push("alice/kernel", v1.Config{}, layerOf(t, boottest.SmallKernel(t)))
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node wait vm1")
	before := w.bootID("alice", "vm1")
	for _, name := range []string{"bare", "crippled", "kernel"} {
		w.does("alice", "image clone lab:alice/"+name)
	}

	// What cannot boot changes nothing.
	w.refuses("alice", "node boot vm1 bare", "bare cannot boot vm1: it has no kernel; nothing changed")
	w.refuses("alice", "node boot vm1 crippled", "crippled cannot boot vm1: its kernel", "has no virtio_net; nothing changed")
	if after := w.bootID("alice", "vm1"); after != before || !strings.Contains(w.does("alice", "node show vm1"), " os ") {
		t.Error("an image that cannot boot was booted")
	}

	// With a kernel of the lab it boots, and runs what it declares.
	w.configure("[boot]\nkernel = \"pc-x86-64-default\"")
	w.until("alice", "node boot vm1 bare", "vm1")
	w.does("alice", "node wait vm1")
	w.until("alice", "node run vm1 cat /tmp/out", "an argument, b c, 1000 1000 6 in /srv/work\n")
	if out := w.does("alice", "node run vm1 cat /etc/name /lib/own; ls /etc/secret; ls /lib/modules/$(uname -r)/modules.dep"); out != "bare\nits own\n"+out[strings.Index(out, "/lib/modules"):] || !strings.HasSuffix(out, "modules.dep\n") {
		t.Errorf("with a borrowed kernel it has %q", out)
	}
	if out := w.does("alice", "node run vm1 busybox su -s /bin/sh worker -c '/bin/grep CapEff /proc/self/status'"); out != "CapEff:\t0000000000002000\n" {
		t.Errorf("the capabilities of grep are %q", out)
	}

	// The kernel is removed under it: it goes on with what it has.
	before = w.bootID("alice", "vm1")
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait vm1")
	if after := w.bootID("alice", "vm1"); after != before || !strings.Contains(w.does("alice", "node run vm1 wc /lib/modules/*/modules.alias"), "modules.alias") {
		t.Error("after a restart of the server its kernel is gone")
	}

	// Nothing but a kernel: the server's own init and SSH.
	w.does("alice", "node boot vm1 kernel")
	w.does("alice", "node wait vm1")
	var out bytes.Buffer
	c := w.SSH("alice", nil, "node", "run", "vm1", "uname")
	c.Stdout, c.Stderr = &out, &out
	if err := w.Finish(c); err == nil || !strings.Contains(out.String(), "The image has no shell.") {
		t.Errorf("an image of nothing but a kernel: %v, %s", err, &out)
	}
}
