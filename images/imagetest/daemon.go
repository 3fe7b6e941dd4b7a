package imagetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	moby "github.com/moby/moby/client"
)

// service starts a program that answers docker's API on the socket in dir, and waits until
// it does.
func service(t testing.TB, dir, program string, args ...string) (host string) {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, "only root can start "+program)
	}
	host = "unix://" + filepath.Join(dir, "docker.sock")
	client, err := moby.New(moby.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	out, ended := start(t, program, args)
	Until(t, program, func() bool {
		select {
		case <-ended:
			if !strings.Contains(out.String(), "timeout waiting for containerd") { // which it gives 15 s, whatever else runs here
				Missing(t, program+" does not run here: "+out.String())
			}
			out, ended = start(t, program, args)
		default:
		}
		_, err := client.Ping(t.Context(), moby.PingOptions{})
		return err == nil
	})
	return host
}

// start starts a program that runs until the test ends. When it ended, ended is closed,
// and out is what it said.
func start(t testing.TB, program string, args []string) (out *bytes.Buffer, ended chan struct{}) {
	t.Helper()
	out, ended = &bytes.Buffer{}, make(chan struct{})
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program
		_ = cmd.Wait() // it says itself what is wrong
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", program, out)
		}
	})
	return out, ended
}

// ShortDir is a directory whose path leaves room for the name of a socket.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "walt-images-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Dockerd starts a docker daemon and returns its address.
func Dockerd(t testing.TB) (host string) {
	bin := Part(t, "dockerd", "docker.io")
	dir := ShortDir(t)
	return service(t, dir, bin, "--log-level=error", "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false",
		"--storage-driver=overlay2", "--host=unix://"+dir+"/docker.sock", "--data-root="+dir+"/root", "--exec-root="+dir+"/exec", "--pidfile="+dir+"/pid")
}

// Podman starts podman as one and returns its address.
func Podman(t testing.TB) (host string) {
	bin := Part(t, "podman", "podman")
	dir := ShortDir(t)
	return service(t, dir, bin, "--root="+dir+"/root", "--runroot="+dir+"/run", "--tmpdir="+dir+"/tmp", "--storage-driver=vfs",
		"--cgroup-manager=cgroupfs", "system", "service", "--time=0", "unix://"+dir+"/docker.sock")
}

// Load gives a daemon an image under the name.
func Load(t testing.TB, host, as string, img v1.Image) {
	t.Helper()
	tag, err := name.NewTag(as)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		t.Fatal(err)
	}
	client, err := moby.New(moby.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := client.ImageLoad(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	b.Reset()
	if _, err := b.ReadFrom(resp); err != nil || strings.Contains(b.String(), "rror") {
		t.Fatalf("load %s: %s, %v", as, &b, err)
	}
}
