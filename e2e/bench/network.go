//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"walt/e2e/lab"
	"walt/netboot/boottest"
)

// devices is how many boards and PCs there are at once.
const devices = 200

// serverAddr is the server on the network of boards and PCs, and besideTFTP where Debian's
// server of TFTP is.
var (
	serverAddr = netip.MustParseAddr("10.31.0.1")
	besideTFTP = netip.AddrPortFrom(serverAddr, 6969)
)

// network measures what boards and PCs meet, in a program of its own whose network leads
// nowhere else.
func (b *bench) network(*lab.Lab) error {
	if os.Geteuid() != 0 {
		fmt.Println("the network of boards and PCs is left out: it takes root to make one")
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self, "-waltd", b.waltd, "-inside")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err = c.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 1 { // it said why
		b.failed = true
		return nil
	}
	return err
}

// segment is a lab with a network of boards and PCs, on whose other end this program plays
// the devices.
type segment struct {
	*bench
	*lab.Lab
	wire     *wire
	loaders  string // a directory
	kernel   []byte // of the image for PCs
	booted   []*booted
	registry *watched
}

// insideNetwork measures in the network of this process.
func (b *bench) insideNetwork() (err error) {
	if b.dir, err = os.MkdirTemp("", "walt-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	s, end, err := b.openSegment()
	if err != nil {
		return err
	}
	defer end()
	for _, measure := range []func() error{s.storm, s.offers, s.said, s.share, s.interrupted, s.compareTFTP, s.compareHTTP} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

// openSegment starts a lab, until end.
func (b *bench) openSegment() (s *segment, end func(), err error) {
	s = &segment{bench: b, loaders: filepath.Join(b.dir, "loaders"), kernel: append([]byte(boottest.Header("6.1.0")), noise(4<<20)...)}
	if s.wire, err = newWire(); err != nil {
		return nil, nil, err
	}
	err = errors.Join(os.Chmod(b.dir, 0o755), os.Mkdir(s.loaders, 0o755)) // Debian's server of TFTP reads them as another user
	for name, size := range loaderSizes {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.loaders, name), noise(size), 0o644))
	}
	if err != nil {
		return nil, nil, err
	}
	if s.Lab, err = newLab(filepath.Join(b.dir, "network"), b.waltd); err != nil {
		return nil, nil, err
	}
	end = func() {
		s.Kill()
		s.Registry.Stop()
	}
	const modules = "lib/modules/6.1.0/"
	err = s.Registry.Push(lab.Image{Models: []string{"pc-x86-64"}, Files: []string{
		"boot/", "", "boot/vmlinuz-6.1.0", string(s.kernel), "lib/", "", "lib/modules/", "", modules, "", modules + "modules.dep", "", modules + "modules.alias", "",
		modules + "modules.builtin", "kernel/nfs.ko\nkernel/nfsv3.ko\nkernel/overlay.ko\nkernel/virtio_net.ko\nkernel/virtio_pci.ko\n",
	}})
	if err == nil {
		s.registry, err = watchRegistry(s.Registry.URL())
	}
	if err == nil {
		err = s.configure()
	}
	if err == nil {
		err = s.begin()
	}
	if err == nil {
		err = s.Add("", user)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return s, end, nil
}

// configure has the server serve the network, and take images from the registry that is
// watched.
func (s *segment) configure() error {
	config, err := os.ReadFile(s.Config)
	if err != nil {
		return err
	}
	config = bytes.ReplaceAll(config, []byte(s.Registry.URL()), []byte(s.registry.url))
	config = fmt.Appendf(config, "\n[network]\ninterface = \"lab0\"\nrange = \"10.31.1.1-10.31.1.250\"\nloaders = %q\n", s.loaders)
	return os.WriteFile(s.Config, config, 0o644)
}

// begin starts the server, and returns when boards and PCs can begin to boot.
func (s *segment) begin() error {
	const begins = "boards and PCs boot from here"
	before, _ := os.ReadFile(s.Log()) // there is none yet
	if err := s.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		log, err := os.ReadFile(s.Log())
		if err != nil {
			return err
		}
		if strings.Contains(string(log[len(before):]), begins) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not serve the network:\n%s", log)
		}
	}
}

// noise is content that no compression makes smaller.
func noise(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// watched is a registry of which is known how often each part of images was fetched.
type watched struct {
	url string

	mu    sync.Mutex
	times map[string]int // by path
}

// watchRegistry stands before a registry, until the program ends.
func watchRegistry(at string) (*watched, error) {
	to, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &watched{url: "http://" + l.Addr().String(), times: map[string]int{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // ends with the program
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			f.mu.Lock()
			f.times[r.URL.Path]++
			f.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	return f, nil
}

// most is how often the part was fetched that was fetched most often.
func (f *watched) most() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, times := range f.times {
		n = max(n, times)
	}
	return n
}

// bareHTTP serves a file, and nothing else, with net/http alone. It prints its address.
func bareHTTP(file string) error {
	l, err := net.Listen("tcp", netip.AddrPortFrom(serverAddr, 0).String())
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }))
}

// startHTTP starts a bare server of a file, a process of its own as the others are.
func startHTTP(file string) (address string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	server := exec.Command(self, "-bare-http", file)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		return "", nil, err
	}
	stop = func() {
		server.Process.Kill()
		server.Wait()
	}
	if _, err := fmt.Fscanln(out, &address); err != nil {
		stop()
		return "", nil, fmt.Errorf("the address of a bare server: %w", err)
	}
	return address, stop, nil
}

// startTFTP starts Debian's server of the same loaders.
func (s *segment) startTFTP() (stop func(), err error) {
	server, err := exec.LookPath("in.tftpd")
	if err != nil {
		server = "/usr/sbin/in.tftpd" // not in everybody's PATH
	}
	c := exec.Command(server, "--foreground", "--address", besideTFTP.String(), "--user", "nobody", "--secure", s.loaders)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start tftpd-hpa beside: %w", err)
	}
	stop = func() {
		c.Process.Kill()
		c.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := s.wire.fetch(fetch{from: s.booted[0].ip, server: besideTFTP, name: usualLoader, block: 512, window: 1, patience: 50 * time.Millisecond, tries: 1})
		if err == nil {
			return stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("start tftpd-hpa beside: %w: %s", err, said.Bytes())
		}
	}
}
