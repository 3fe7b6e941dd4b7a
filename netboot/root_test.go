package netboot_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/nodes"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// odd are files of all kinds, in the order and the form in which a machine gets them.
func odd() []*tar.Header {
	when := time.Unix(1700000000, 123456789)
	long := "odd/" + strings.Repeat(strings.Repeat("d", 200)+"/", 15)
	head := func(h tar.Header) *tar.Header { return &h }
	all := []*tar.Header{head(tar.Header{Typeflag: tar.TypeDir, Name: "odd/", Mode: 0o1777, Uid: 7, Gid: 8, ModTime: when, Format: tar.FormatPAX})}
	for i := range 15 {
		all = append(all, imagetest.Directory(long[:4+201*(i+1)]))
	}
	return append(all,
		imagetest.Regular(long+strings.Repeat("n", 255), "far away"),
		head(tar.Header{Typeflag: tar.TypeChar, Name: "odd/null", Mode: 0o666, Devmajor: 1, Devminor: 1048575}),
		head(tar.Header{Typeflag: tar.TypeBlock, Name: "odd/disk", Mode: 0o660, Devmajor: 4095, Devminor: 16}),
		head(tar.Header{Typeflag: tar.TypeFifo, Name: "odd/pipe", Mode: 0o600}),
		head(tar.Header{Typeflag: tar.TypeReg, Name: "odd/setuid", Mode: 0o6755, Uid: 3999999999, Gid: 4294967294, ModTime: when, Format: tar.FormatPAX}),
		head(tar.Header{Typeflag: tar.TypeReg, Name: "odd/before Christ", Mode: 0o600, ModTime: time.Unix(-99999999999, 0)}),
		imagetest.Regular("odd/new\nline\xff = Ünïcode", "a name"),
		imagetest.Symlink("odd/link", "/"+strings.Repeat("t", 4000)),
		imagetest.Regular("odd/z-content", strings.Repeat("0123456789", 30000)),
		imagetest.Hardlink("odd/z-hard", "odd/z-content"),
		imagetest.Capable(imagetest.Regular("odd/capable", "ping"), imagetest.CanPing),
		imagetest.Hardlink("odd/capable-too", "odd/capable"),
	)
}

// get asks for a path of the server as a machine, and returns what there is, or the status.
func (f *fixture) get(m netboot.Machine, path string) ([]byte, int) {
	f.T.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: netboottest.From(m).DialContext, DisableKeepAlives: true}}
	r, err := client.Get("http://" + f.Ports.At(netboot.PortHTTP) + path)
	if err != nil {
		f.T.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return b, r.StatusCode
}

// inMemory is a machine with its root there.
func inMemory(m netboot.Machine) netboot.Machine {
	m.Settings.Root, m.Memory = nodes.RAMRoot, 1<<30
	return m
}

// rootOf is the path of the only part of the root that instructions name.
func rootOf(t *testing.T, i *instructions.Instructions) string {
	t.Helper()
	if i == nil || len(i.Root.RAM) != 1 || len(i.Root.NFS) > 0 {
		t.Fatalf("%+v", i)
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(i.Root.RAM[0], "http://"), "/")
	return "/" + path
}

// An image is sent as it is, from wherever a machine has it already.
func TestRootIsSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("odd", netboottest.Bootable(t, "odd", odd()...))
	f.Choose("one", "odd")
	one := inMemory(one)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	path := rootOf(t, i)
	whole, status := f.get(one, path)
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	var got []*tar.Header
	for r := tar.NewReader(bytes.NewReader(whole)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if capable := h.PAXRecords["SCHILY.xattr.security.capability"]; (capable == imagetest.CanPing) != (h.Name == "odd/capable") {
			t.Errorf("%s has the capability %q", h.Name, capable)
		}
		if strings.HasPrefix(h.Name, "odd/") {
			got = append(got, h)
		}
		if h.Name == "odd/z-content" {
			if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat("0123456789", 30000) {
				t.Errorf("content of %d bytes, %v", len(b), err)
			}
		}
	}
	want := odd()
	byName := func(a, b *tar.Header) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(got, byName)
	slices.SortFunc(want, byName)
	if len(got) != len(want) {
		t.Fatalf("%d files, not %d", len(got), len(want))
	}
	for k, w := range want {
		g := got[k]
		if w.Typeflag != tar.TypeLink && (g.Mode != w.Mode || g.Uid != w.Uid || g.Gid != w.Gid) || g.Name != w.Name || g.Typeflag != w.Typeflag ||
			g.Linkname != w.Linkname || g.Devmajor != w.Devmajor || g.Devminor != w.Devminor || !w.ModTime.IsZero() && !g.ModTime.Equal(w.ModTime) {
			t.Errorf("sent %+v, want %+v", g, w)
		}
	}
	for _, at := range []int{1, 511, 512, len(whole) / 2, len(whole) - 1, len(whole)} {
		if rest, status := f.get(one, fmt.Sprintf("%s?from=%d", path, at)); status != http.StatusOK || !bytes.Equal(rest, whole[at:]) {
			t.Errorf("from %d: status %d, %d bytes", at, status, len(rest))
		}
		if taken := f.Taken("one"); taken != int64(len(whole)) { // once, however often it asks
			t.Errorf("it took %d of %d bytes", taken, len(whole))
		}
	}
	for bad, want := range map[string]int{"?from=-1": 404, "?from=x": 404, "?from=99999999999999999999": 404} {
		if _, status := f.get(one, path+bad); status != want {
			t.Errorf("%s: status %d", bad, status)
		}
	}
}

// The files of an image are for the machine that boots it, until it has them.
func TestRootIsSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	one, two := inMemory(one), inMemory(two)
	_, token := f.Prepared(one)
	_, other := f.Prepared(two)
	i, _ := f.Ask(one, token)
	path := rootOf(t, i)
	refused := func(what string, m netboot.Machine, path string) {
		t.Helper()
		if b, status := f.get(m, path); status != http.StatusForbidden || len(b) > 100 {
			t.Errorf("%s: status %d, %d bytes", what, status, len(b))
		}
	}
	refused("another machine", two, path)
	refused("another machine's", one, "/root/"+other+"/0")
	refused("none", one, "/root/x/0")
	if _, status := f.get(one, "/root/"+token+"/1"); status != http.StatusNotFound {
		t.Errorf("a part that is none: status %d", status)
	}
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Mounts)) // connected, and without a root
	f.Start()
	if found, err := f.Resume(t.Context(), one); !found || err != nil {
		t.Fatal(found, err)
	}
	c.Close()
	f.Hears("one lost") // by the server before
	c = f.AsAgent(one, netboottest.ReportOf(i, instructions.Mounts))
	if _, status := f.get(one, path); status != http.StatusOK {
		t.Errorf("after a restart: status %d", status)
	}
	f.Report(c, netboottest.ReportOf(i, instructions.Mounts, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	refused("a machine that has it", one, path)
	f.Start()
	if found, err := f.Resume(t.Context(), one); !found || err != nil {
		t.Fatal(found, err)
	}
	refused("a machine that has it, after a restart", one, path)
	_, token = f.Prepared(netboot.Machine{Name: one.Name, MAC: one.MAC, IP: one.IP, Server: one.Server, Net: one.Net})
	refused("a machine with its root on the server", one, "/root/"+token+"/0")
}

// A machine that asks anew, while its connection before does not end, gets all of it.
func TestRootIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("big", netboottest.Bootable(t, "big", imagetest.Regular("big", strings.Repeat("x", 64<<20))))
	f.Choose("one", "big")
	one := inMemory(one)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	path := rootOf(t, i)
	begin := func() net.Conn {
		t.Helper()
		c, err := netboottest.From(one).Dial("tcp4", f.Ports.At(netboot.PortHTTP))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ends := func(c net.Conn) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n >= 64<<20 || errors.Is(err, net.ErrClosed) {
			t.Errorf("%d bytes, %v", n, err)
		} else if late, ok := err.(net.Error); ok && late.Timeout() {
			t.Error("it goes on")
		}
	}
	before := begin()
	if b, status := f.get(one, path); status != http.StatusOK || len(b) < 64<<20 {
		t.Errorf("status %d, %d bytes", status, len(b))
	}
	ends(before)
	before = begin()
	f.Prepared(one)
	ends(before)
}

// Where the root is, is chosen by what the kernel can and how much memory there is.
func TestChoiceOfRoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("bare", bareImage(t))
	const enough, little = 32 << 20, 16 << 20 // bare takes some 12 MiB
	for _, c := range []struct {
		image  string
		root   nodes.RootKind
		memory int64
		ram    bool
		err    string
	}{
		{image: "red", memory: enough},
		{image: "red", root: nodes.NFSRoot, memory: enough},
		{image: "red", root: nodes.RAMRoot, memory: enough, ram: true},
		{image: "red", root: nodes.RAMRoot, ram: true},
		{image: "bare", memory: enough, ram: true},
		{image: "bare", ram: true},
		{image: "bare", root: nodes.RAMRoot, memory: enough, ram: true},
		{image: "bare", root: nodes.NFSRoot, memory: enough, err: "its kernel 6.1.0 has no nfs, nfsv3, overlay; have the whole image in its memory, with: node config one boot.root=ram"},
		{image: "bare", memory: little, err: "its kernel 6.1.0 has no nfs, nfsv3, overlay; give it the memory for the whole image, with: node config one boot.root=ram ram=19M"},
		{image: "bare", root: nodes.RAMRoot, memory: little, err: "it takes 13 MiB of memory, and the machine has 16 MiB: it would need 19; give it more, with: node config one ram=19M"},
		{image: "hollow", root: nodes.RAMRoot, memory: enough, err: "it has no kernel"},
	} {
		f.Choose("one", c.image)
		m := one
		m.Settings.Root, m.Memory = c.root, c.memory
		b, err := f.Prepare(t.Context(), m)
		if c.err != "" {
			if told := withHint(err); !strings.Contains(told, c.err) {
				t.Errorf("%+v: %s", c, told)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		_, token, _ := strings.Cut(b.CommandLine, "/boot/")
		if i, _ := f.Ask(m, token); i == nil || (len(i.Root.RAM) > 0) != c.ram || (len(i.Root.NFS) > 0) == c.ram {
			t.Errorf("%+v: %+v", c, i)
		}
	}
}

// withHint is a fault as users read it.
func withHint(err error) string {
	f := fault.As(err)
	if f == nil {
		return fmt.Sprint(err)
	}
	return f.Msg + "; " + f.Hint
}

// What a machine was sent of its root is told with the step that it was sent for.
func TestRootIsTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Choose("one", "red")
	one := inMemory(one)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	whole, _ := f.get(one, rootOf(t, i))
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Asking, instructions.Mounts))
	f.Report(c, netboottest.ReportOf(i, instructions.Asking, instructions.Mounts, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Asking, instructions.Mounts, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if want := fmt.Sprintf("one sent %d for root", len(whole)); !slices.Equal(f.Files(), []string{want}) {
		t.Errorf("the lab was told of the files %q, want %q", f.Files(), want)
	}
}

// bareImage is one of 12 MiB whose kernel has no NFS.
func bareImage(t *testing.T) v1.Image {
	return netboottest.BuiltWith(t, []string{"virtio_net", "virtio_pci"}, imagetest.Regular("big", strings.Repeat("x", 12<<20)))
}
