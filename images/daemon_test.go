package images

import (
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/state"
)

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
	link := Link{Docker, mustRef(t, pcDefault)}
	if _, err := l.FetchLink(t.Context(), link, "linux/amd64", nil); err != nil {
		t.Errorf("for the platform that it is for: %v", err)
	}
	_, err = l.FetchLink(t.Context(), link, "linux/arm/v7", nil)
	wantFault(t, err, "the one in the docker daemon ("+host+") is for linux/amd64 alone, not for linux/arm/v7")
	again, err := dockered(t, host).Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	if err != nil || again.Digest != got.Digest {
		t.Errorf("the next time it is %v, %v", again.Digest, err)
	}

	var found []string
	err = l.Search(t.Context(), "", func(f Match) { found = append(found, f.Link.String()) }, func(at string, err error) { t.Error(at, err) }, untold)
	slices.Sort(found)
	if want := []string{"docker:alice/my_tools:v1.2", "docker:" + pcDefault}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, %v", found, err)
	}
	_, err = l.FetchLink(t.Context(), mustLink(t, "docker:alice/unlabelled"), "", nil)
	wantFault(t, err, "docker:alice/unlabelled", "the docker daemon ("+host+")", "no label walt.node.models")
	_, err = l.FetchLink(t.Context(), mustLink(t, "docker:alice/nothing"), "", nil)
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
		err := l.Search(t.Context(), "", func(Match) {}, func(at string, err error) { t.Error(at, err) }, untold)
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
		_, err = l.FetchLink(t.Context(), mustLink(t, "docker:a/b"), "", nil)
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
	err = l.Search(t.Context(), "", func(Match) {}, func(at string, err error) {
		misses++
		wantFault(t, err, "does not answer")
	}, untold)
	if err != nil || misses != 1 {
		t.Errorf("%d misses, %v", misses, err)
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
