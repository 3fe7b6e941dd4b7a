package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	moby "github.com/moby/moby/client"

	"walt/state"
)

// part finds a program that a test is about, or skips the test: in CI it fails.
func part(t testing.TB, program, pkg string) string {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err == nil {
		return bin
	}
	if bin = filepath.Join("/usr/sbin", program); exists(bin) {
		return bin
	}
	return missing(t, program+" is missing: install the Debian package "+pkg)
}

func missing(t testing.TB, what string) string {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// service starts a program that answers docker's API on the socket in dir.
func service(t testing.TB, dir string, cmd *exec.Cmd) (host string) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "only root can start "+cmd.Path)
	}
	socket := filepath.Join(dir, "docker.sock")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the program
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", cmd.Path, &out)
		}
	})
	until(t, cmd.Path, func() bool {
		select {
		case err := <-ended:
			ended <- err
			missing(t, cmd.Path+" does not run here: "+out.String())
		default:
		}
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "unix://" + socket
}

// short is a directory whose path leaves room for the name of a socket.
func short(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "walt-images-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func dockerd(t testing.TB) (host string) {
	bin := part(t, "dockerd", "docker.io")
	dir := short(t)
	return service(t, dir, exec.Command(bin, "--log-level=error", "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false",
		"--storage-driver=overlay2", "--host=unix://"+dir+"/docker.sock", "--data-root="+dir+"/root", "--exec-root="+dir+"/exec", "--pidfile="+dir+"/pid"))
}

func podman(t testing.TB) (host string) {
	bin := part(t, "podman", "podman")
	dir := short(t)
	return service(t, dir, exec.Command(bin, "--root="+dir+"/root", "--runroot="+dir+"/run", "--tmpdir="+dir+"/tmp", "--storage-driver=vfs",
		"--cgroup-manager=cgroupfs", "system", "service", "--time=0", "unix://"+dir+"/docker.sock"))
}

// load gives a daemon an image under the name.
func load(t testing.TB, host, as string, img v1.Image) {
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

// tarLayer is a layer that knows the digest of its uncompressed form, which
// daemons look at.
func tarLayer(t testing.TB, entries ...*tar.Header) v1.Layer {
	t.Helper()
	content := archive(t, entries...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dockered is a library that looks in a docker daemon.
func dockered(t testing.TB, host string) *testLibrary {
	t.Helper()
	l := newLibrary(t)
	if err := l.SetDocker(host); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRealDocker(t *testing.T) {
	t.Parallel()
	testDaemon(t, dockerd(t))
}

func TestRealPodman(t *testing.T) {
	t.Parallel()
	testDaemon(t, podman(t))
}

func testDaemon(t *testing.T, host string) {
	big, err := random.Layer(3<<20, types.DockerLayer)
	if err != nil {
		t.Fatal(err)
	}
	twice := tarLayer(t, regular("etc/motd", "of a daemon"))
	img := image(t, []v1.Layer{
		tarLayer(t, regular("etc/motd", "old"), regular("gone", "x")), big,
		tarLayer(t, regular(".wh.gone", "")), twice,
	}, modelsLabel, "pc-x86-64,pc-x86-32")
	load(t, host, "docker.io/"+pcDefault+":latest", img)
	load(t, host, "docker.io/alice/my_tools:v1.2", image(t, []v1.Layer{tarLayer(t, regular("tools", "x"))}, modelsLabel, "pc-x86-64"))
	load(t, host, "docker.io/alice/unlabelled:latest", image(t, []v1.Layer{twice}))
	l := dockered(t, host)

	var seen []Progress
	got, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), func(p Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	if !got.Boots("pc-x86-32") || !got.Created.Equal(created) || len(seen) == 0 || !seen[len(seen)-1].Finished {
		t.Errorf("got %+v, %v", got, seen)
	}
	tree, err := l.Files(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "etc/motd", "of a daemon")
	if _, err := fs.Stat(tree, "gone"); err == nil {
		t.Error("a whiteout was lost")
	}
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	again, err := dockered(t, host).Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	if err != nil || again.Digest != got.Digest {
		t.Errorf("the next time it is %v, %v", again.Digest, err)
	}

	var found []string
	err = l.Search(t.Context(), "", func(f Found) { found = append(found, f.Link.String()) }, func(at string, err error) { t.Error(at, err) })
	slices.Sort(found)
	if want := []string{"docker:alice/my_tools:v1.2", "docker:" + pcDefault}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, %v", found, err)
	}
	_, err = l.FetchLink(t.Context(), mustLink(t, "docker:alice/unlabelled"), nil)
	wantFault(t, err, "docker:alice/unlabelled", "the docker daemon ("+host+")", "no label walt.node.models")
	_, err = l.FetchLink(t.Context(), mustLink(t, "docker:alice/nothing"), nil)
	wantFault(t, err, "the docker daemon ("+host+") does not have it")

	offers := l.Offers(t.Context(), DefaultRef("pc-x86-64"))
	if len(offers) != 1 || offers[0].Location != Docker || !offers[0].Created.Equal(created) || offers[0].Err != nil {
		t.Errorf("got %v", offers)
	}
	update(t, l, func(tx state.Tx) error { return Put(tx, got) })
	if offers = l.Offers(t.Context(), DefaultRef("pc-x86-64")); offers[0].Digest != got.Digest {
		t.Errorf("what is here is offered as %v, want %s", offers, got.Digest)
	}
	if known, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil); err != nil || known.Digest != got.Digest {
		t.Errorf("what is here was fetched as %v, %v", known, err)
	}
}

func TestNoDaemonIsNoError(t *testing.T) {
	t.Parallel()
	dir := short(t)
	for _, host := range []string{"unix://" + dir + "/none.sock", "tcp://" + closedPort(t)} {
		l, _, url := inLab(t)
		if err := l.SetDocker(host); err != nil {
			t.Fatal(err)
		}
		err := l.Search(t.Context(), "", func(Found) {}, func(at string, err error) { t.Error(at, err) })
		if err != nil {
			t.Error(err)
		}
		if offers := l.Offers(t.Context(), DefaultRef("x")); len(offers) != 1 || offers[0].Location != "lab" {
			t.Errorf("got %v", offers)
		}
		_, err = l.Fetch(t.Context(), DefaultRef("x"), nil)
		wantFault(t, err, "registry lab ("+url+") does not have it")
		if strings.Contains(err.Error(), "docker") {
			t.Errorf("the message tells of a daemon that is not there: %v", err)
		}
		_, err = l.FetchLink(t.Context(), mustLink(t, "docker:a/b"), nil)
		wantFault(t, err, "docker:a/b", "the docker daemon ("+host+") does not run")
	}
}

func TestDaemonThatHangs(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("unix", short(t)+"/docker.sock") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l := newLibrary(t)
	l.stall = 50 * time.Millisecond
	host := "unix://" + silent.Addr().String()
	if err := l.SetDocker(host); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), DefaultRef("x"), nil)
	wantFault(t, err, "the docker daemon ("+host+") does not answer")
	if o := l.Offers(t.Context(), DefaultRef("x")); len(o) != 1 || o[0].Err == nil {
		t.Errorf("got %v", o)
	}
	misses := 0
	err = l.Search(t.Context(), "", func(Found) {}, func(at string, err error) {
		misses++
		wantFault(t, err, "does not answer")
	})
	if err != nil || misses != 1 {
		t.Errorf("%d misses, %v", misses, err)
	}
}

// fakeDaemon has one image, which it packs as the function does.
func fakeDaemon(t testing.TB, pack func(w http.ResponseWriter, r *http.Request)) *testLibrary {
	t.Helper()
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/images/get"):
			pack(w, r)
		case strings.HasSuffix(r.URL.Path, "/json"):
			io.WriteString(w, `{"Id":"sha256:00","Size":10,"Created":"2024-05-06T07:08:09Z","Config":{"Labels":{"walt.node.models":"x"}}}`)
		}
	}))
	return dockered(t, strings.Replace(s.URL, "http://", "tcp://", 1))
}

func TestDaemonThatPacksNonsense(t *testing.T) {
	t.Parallel()
	config := `{"config":{"Labels":{"walt.node.models":"x"}},"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`
	index := regular("manifest.json", `[{"Config":"c.json","Layers":["a/../l.tar"]}]`)
	for want, content := range map[string][]byte{
		"without a manifest":        archive(t, regular("x", "y")),
		"manifest that is not":      archive(t, regular("manifest.json", "[]")),
		"without its config":        archive(t, regular("l.tar", ""), index),
		"without its layer":         archive(t, regular("c.json", config), index),
		"does not match its digest": archive(t, regular("c.json", config), regular("l.tar", "x"), index),
		"broke the connection":      archive(t, regular("l.tar", strings.Repeat("x", 2000)))[:1000],
		"no link":                   archive(t, symlink("l.tar", "../../../../etc/passwd"), regular("c.json", config), index),
	} {
		l := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) { w.Write(content) })
		_, err := l.Fetch(t.Context(), DefaultRef("x"), nil)
		if want == "no link" {
			want = "without its layer"
		}
		wantFault(t, err, "the docker daemon", want)
		if left := leftovers(t, l); len(left) > 0 {
			t.Errorf("%v was left", left)
		}
	}
}

func TestFetchFromDaemonCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(archive(t, regular("l.tar", strings.Repeat("x", 2000)))[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	if _, err := l.Fetch(ctx, DefaultRef("x"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestAddressesOfDaemonsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, host := range []string{"/var/run/docker.sock", "ssh://x", "unix://", "tcp://", "unix:///" + strings.Repeat("x", 200)} {
		wantFault(t, l.SetDocker(host), "docker daemon", "invalid")
	}
	if err := l.SetDocker(""); err != nil {
		t.Error(err)
	}
}
