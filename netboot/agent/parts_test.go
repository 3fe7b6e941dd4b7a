//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/netboot/instructions"
)

func TestCmdline(t *testing.T) {
	p, err := parseCmdline("console=ttyS0 BOOTIF=01-52-54-00-00-00-01 walt.ip=10.0.0.7/24 walt.gw=10.0.0.1 walt.boot=http://10.0.0.1/boot/secret quiet\n")
	if err != nil || p.mac.String() != "52:54:00:00:00:01" || p.addr != netip.MustParsePrefix("10.0.0.7/24") || p.gw.String() != "10.0.0.1" || p.url != "http://10.0.0.1/boot/secret" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = parseCmdline("walt.mac=52:54:00:00:00:02 BOOTIF=01-52-54-00-00-00-01 walt.ip=10.0.0.7/24 walt.boot=u")
	if err != nil || p.mac.String() != "52:54:00:00:00:02" || p.gw.IsValid() {
		t.Errorf("%+v, %v", p, err)
	}
	for line, want := range map[string]string{
		"quiet":                         "no walt.boot=URL",
		"walt.boot=u":                   "no walt.ip=IPv4/BITS",
		"walt.boot=u walt.ip=fe80::1/8": "no walt.ip=IPv4/BITS",
		"walt.boot=u walt.ip=10.0.0.7":  "walt.ip=10.0.0.7",
		"walt.mac=nonsense":             "walt.mac=nonsense",
	} {
		if _, err := parseCmdline(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestWithoutUplink(t *testing.T) {
	const before = `source /etc/network/interfaces.d/*
auto lo
iface lo inet loopback

auto ens3 wlan0
allow-hotplug eth0
iface eth0 inet dhcp
  # a comment
  up echo auto eth0

automatic eth0
auto br0 br1
iface br0 inet static
	address 10.0.0.7/24
	bridge_ports eth1 eth0
iface br1 inet static
	bridge_ports wlan0
iface uplink inet6 auto
	mtu 1400
`
	const ours = "# walt: the root comes over it: "
	const after = `source /etc/network/interfaces.d/*
auto lo
iface lo inet loopback

auto wlan0
` + ours + `allow-hotplug eth0
` + ours + `iface eth0 inet dhcp
` + ours + `# a comment
` + ours + `up echo auto eth0

` + ours + `automatic eth0
auto br1
` + ours + `iface br0 inet static
` + ours + `address 10.0.0.7/24
` + ours + `bridge_ports eth1 eth0
iface br1 inet static
	bridge_ports wlan0
` + ours + `iface uplink inet6 auto
` + ours + `mtu 1400
`
	got := withoutUplink(before, "uplink")
	if got != after {
		t.Errorf("got %s", got)
	}
	if again := withoutUplink(got, "uplink"); again != got {
		t.Errorf("a second time: %s", again)
	}
}

func TestSourced(t *testing.T) {
	got := sourced("source interfaces.d/* /x/a\n  source-directory more.d\n# source b\nsource\nauto source c\n", "/etc/network")
	want := []string{"/etc/network/interfaces.d/*", "/x/a", "/etc/network/more.d/*"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListeners(t *testing.T) {
	const table = "  sl  local_address rem_address   st\n   0: 0700D90A:0016 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n   1: 0100007F:0050 0200007F:9999 01 0\n" +
		"   2: 00000000000000000000000000000000:1F90 00:0000 0A 0\n   3: 0000000000000000FFFF00000100007F:0016 00:0000 0A 0\n   4: 00000000000000000000000001000000:0016 00:0000 0A 0\nbroken\n"
	want := []listener{
		{netip.MustParseAddrPort("10.217.0.7:22"), "socket:[4711]"},
		{netip.MustParseAddrPort("[::]:8080"), ""},
		{netip.MustParseAddrPort("127.0.0.1:22"), ""},
		{netip.MustParseAddrPort("[::1]:22"), ""},
	}
	if got := listeners(table); !slices.Equal(got, want) {
		t.Errorf("listeners %v", got)
	}
	here := netip.MustParseAddr("10.217.0.7")
	for at, want := range map[string]bool{"0.0.0.0:22": true, "[::]:22": true, "10.217.0.7:22": true, "127.0.0.1:22": false, "[::1]:22": false, "10.0.0.1:22": false} {
		l := listener{at: netip.MustParseAddrPort(at)}
		if l.answers(here) != want || !l.answers(netip.Addr{}) {
			t.Errorf("%s answers at %v: %v", at, here, !want)
		}
	}
}

func TestConnected(t *testing.T) {
	row := func(local, remote string, to netip.Addr, state string) string {
		ip := to.As4()
		return fmt.Sprintf("   0: 0700000A:%s %08X:%s %s 0\n", local, binary.NativeEndian.Uint32(ip[:]), remote, state)
	}
	server, other := netip.MustParseAddr("10.217.0.1"), netip.MustParseAddr("10.217.0.9")
	table := "  sl  local_address rem_address   st\nbroken\n" + row("02B2", "0801", server, "01") + row("02B3", "0801", other, "01") +
		row("02B4", "0801", server, "02") + row("9999", "0050", server, "01")
	want := []instructions.Conn{{Local: 690, Remote: 2049}, {Local: 39321, Remote: 80}}
	if got := connected(table, server); !slices.Equal(got, want) {
		t.Errorf("it has %v", got)
	}
}

func TestDropbearKey(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	b := dropbearKey(key)
	if want := "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40" + string(key); string(b) != want {
		t.Errorf("key %q", b)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil || block == nil {
		t.Fatal(err)
	}
	if _, _, err := ed25519Of("another kind"); !errors.Is(err, errHostKey) {
		t.Errorf("another kind: %v", err)
	}
}

func TestModulesAreFoundByDevice(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep":   "a/b-net.ko: a/core.ko\na/core.ko:\na/gone.ko:\n",
		"modules.alias": "alias pci:v00001AF4d*sv* b_net\nalias virtio:d1v* gone\nalias crypto-x core\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := newDrivers(dir, &record{})
	for name, want := range map[string]string{"b-net": "a/core.ko", "pci:v00001AF4d1sv2": "a/core.ko", "crypto-x": "a/core.ko", "virtio:d1v2": "a/gone.ko"} {
		d.loaded = map[string]bool{}
		if err := d.load(name); !errors.Is(err, os.ErrNotExist) || !d.loaded[want] { // none of the files is there
			t.Errorf("%s: %v, %v", name, err, d.loaded)
		}
	}
	d.loaded = map[string]bool{}
	if err := d.load("pci:v00001AF5d1sv2"); !errors.Is(err, os.ErrNotExist) || len(d.loaded) > 0 {
		t.Errorf("another device: %v, %v", err, d.loaded)
	}
}

// answer serves one connection with bytes, and returns its URL.
func answer(t *testing.T, text string, keep bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); close(done) })
	go func() { // ends with the test
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, text)
		if keep {
			<-done
		}
	}()
	return "http://" + l.Addr().String() + "/a/secret"
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer, body, err string
		keep              bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "body", "", true},
		{"HTTP/1.0 200 OK\r\n\r\nall of it", "all of it", "", false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half", "unexpected EOF", false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half", "timeout", true},
		{"HTTP/1.0 403 Forbidden\r\n\r\nnot for you\n", "", "403 Forbidden: not for you", false},
		{"SSH-2.0-x\r\n\r\n", "", "SSH-2.0-x", false},
		{"", "", "EOF", false},
	} {
		limit := time.Minute
		if test.err == "timeout" {
			limit = 4 * time.Second // the half comes before, on a busy machine too
		}
		b, err := get(answer(t, test.answer, test.keep), limit)
		var text []byte
		if err == nil {
			text, err = io.ReadAll(b)
			b.Close()
		}
		if string(text) != test.body || test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %q, %v", test.answer, text, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("it tells the secret: %v", err)
		}
	}
	if _, err := get("https://host/secret", time.Second); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("https: %v", err)
	}
}

func TestArchiveThatEndsEarlyIsNotWhole(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it makes files of others")
	}
	dir := t.TempDir()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/d/", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir + "/d/f", dir + "/d/g"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o4750, Uid: 7, Gid: 8, ModTime: time.Unix(100, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	end := b.Len()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/d", nil, 0o600); err != nil { // a file in the place of a directory
		t.Fatal(err)
	}
	if n, err := unpackTar(bytes.NewReader(b.Bytes())); n != 3 || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
	info, err := os.Stat(dir + "/d/f")
	if err != nil || info.Mode() != 0o750|os.ModeSetuid || info.ModTime().Unix() != 100 {
		t.Errorf("%v, %v", info, err)
	}
	early := &transfer{url: pieces(t, b.Bytes()[:end], 700), log: &record{}, patience: time.Millisecond}
	if _, err := unpackTar(early); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without its end: %v", err)
	}
}

// pieces serves a content of which each connection brings so many bytes at most.
func pieces(t *testing.T, content []byte, most int) (url string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("from")) // none is 0
		rest := content[from:]
		w.Write(rest[:min(len(rest), most)])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(web.Close)
	return web.URL + "/root/secret/0"
}

func TestTransferGoesOn(t *testing.T) {
	var content []byte
	for i := range 3000 {
		content = binary.BigEndian.AppendUint32(content, uint32(i))
	}
	log := &record{}
	whole := &transfer{url: pieces(t, content, 5000), log: log, patience: time.Minute}
	got := make([]byte, len(content))
	if _, err := io.ReadFull(whole, got); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%v", err)
	}
	if text := log.String(); strings.Contains(text, "secret") {
		t.Errorf("it tells the secret: %s", text)
	}
	gone := &transfer{url: "http://127.0.0.1:1/root/secret/0", log: log, patience: 300 * time.Millisecond}
	if _, err := gone.Read(got); err == nil {
		t.Error("a server that is not there")
	}
	if text := log.String(); !strings.Contains(text, "refused") {
		t.Errorf("the log: %s", text)
	}
}

func TestRoom(t *testing.T) {
	const total, taken = 1000 << 20, 200 << 20
	for size, want := range map[string]string{
		"":     "size=713031680,nr_inodes=122987", // 60 % of what the image leaves
		"60%":  "size=713031680,nr_inodes=122987",
		"100M": "size=314572800,nr_inodes=25707",
		"9G":   "size=964689920,nr_inodes=184427", // 90 %
	} {
		if got, err := room(instructions.Root{Size: size}, total, taken, 107); got != want || err != nil {
			t.Errorf("%q: %q, %v", size, got, err)
		}
	}
	if got, err := room(instructions.Root{Size: "1M", Inodes: "7"}, total, 0, 0); got != "size=1048576,nr_inodes=7" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"%", "M", "x", "7", "-1M", "60%%", "9999999999G"} {
		if _, err := room(instructions.Root{Size: bad}, total, 0, 0); err == nil {
			t.Errorf("%q is a size", bad)
		}
	}
}

func TestCopyTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it makes files of others")
	}
	from, to := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(from+"/d", 0o711))
	must(os.WriteFile(from+"/d/f", []byte("content"), 0o640))
	must(os.Chown(from+"/d/f", 7, 8))
	must(os.Link(from+"/d/f", from+"/hard"))
	must(os.Symlink("../nowhere", from+"/d/soft"))
	when := time.Unix(1000, 0)
	must(os.Chtimes(from+"/d/f", when, when))
	must(os.Chtimes(from+"/d", when, when))
	must(copyTree(from, to))
	a, err := os.Stat(to + "/d/f")
	must(err)
	b, err := os.Stat(to + "/hard")
	must(err)
	d, err := os.Stat(to + "/d")
	must(err)
	if !os.SameFile(a, b) || a.Mode() != 0o640 || !a.ModTime().Equal(when) || d.Mode().Perm() != 0o711 || !d.ModTime().Equal(when) {
		t.Errorf("%v %v %v", a, b, d)
	}
	if link, err := os.Readlink(to + "/d/soft"); link != "../nowhere" {
		t.Errorf("link %q, %v", link, err)
	}
	if text, err := os.ReadFile(to + "/hard"); string(text) != "content" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestNamesOfDevices(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "b/modalias"), []byte("pci:v1d2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, device := range entries(dir) {
		names = append(names, device+" "+modalias(filepath.Join(dir, device)))
	}
	if !slices.Equal(names, []string{"a ", "b pci:v1d2"}) || entries(filepath.Join(dir, "gone")) != nil {
		t.Errorf("%q", names)
	}
}

// A machine whose connections end at once asks ever more seldom, and tells of it once; one
// whose connection lasted looks for the server soon.
func TestRetry(t *testing.T) {
	var r retry
	ended, refused := errors.New("the server ended it"), errors.New("connection refused")
	for i, c := range []struct {
		lasted time.Duration
		why    error
		pause  time.Duration
		news   bool
	}{
		{time.Hour, ended, 100 * time.Millisecond, true},
		{0, refused, 200 * time.Millisecond, true},
		{0, refused, 400 * time.Millisecond, false},
		{time.Millisecond, ended, 800 * time.Millisecond, true},
		{time.Millisecond, ended, time.Second, false},
		{time.Millisecond, ended, time.Second, false},
		{time.Minute, ended, 100 * time.Millisecond, true},
	} {
		if pause, news := r.after(c.lasted, c.why); pause != c.pause || news != c.news {
			t.Errorf("the end %d is followed by %v, news %v; want %v, %v", i, pause, news, c.pause, c.news)
		}
	}
}
