//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"walt/e2e/lab"
	"walt/images/content"
	"walt/netboot/nfs"
)

// shop is where machines are made by hand: an NFS server on loopback with the images
// of a lab, and an init that knows beforehand all that nodes are told. The init asks
// nobody and reports to nobody; its network is that of QEMU itself.
type shop struct {
	dir    string
	init   []byte
	files  *nfs.Server
	images map[nfs.ID]*content.Tree
	port   int

	mu        sync.Mutex
	recording bool
	tapes     []*tape // of the connections that began since
}

// openShop opens one with the images of these digests, which the lab has.
func openShop(dir string, l *lab.Lab, digests ...string) (*shop, error) {
	s := &shop{dir: dir, images: map[nfs.ID]*content.Tree{}}
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./e2e/bench/testdata/minimum")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		var out []byte
		if out, err = build.CombinedOutput(); err != nil {
			err = fmt.Errorf("the init: %w\n%s", err, out)
		}
	}
	if err == nil {
		s.init, err = os.ReadFile(program)
	}
	if err == nil {
		err = s.take(l, digests)
	}
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	s.files = &nfs.Server{Exports: s, Log: slog.New(slog.DiscardHandler), MaxConnsPerAddr: 64} // all come from one address
	go s.files.Serve(taping{listener, s})                                                      // ends with close
	return s, nil
}

func (s *shop) close() { s.files.Close() }

// Tree implements nfs.Exports.
func (s *shop) Tree(_ context.Context, _ netip.Addr, id nfs.ID) (*content.Tree, error) {
	return s.images[id], nil
}

// take takes the images of a lab.
func (s *shop) take(l *lab.Lab, digests []string) error {
	theirs, ours := filepath.Join(l.Data(), "images"), filepath.Join(s.dir, "images")
	err := filepath.WalkDir(theirs, func(name string, d fs.DirEntry, err error) error {
		rest, bad := filepath.Rel(theirs, name)
		if err = errors.Join(err, bad); err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(ours, rest), 0o700)
		}
		return os.Link(name, filepath.Join(ours, rest))
	})
	if err != nil {
		return err
	}
	store, err := content.Open(ours, time.Now)
	if err != nil {
		return err
	}
	for _, text := range digests {
		digest, err := content.ParseDigest(text)
		if err != nil {
			return err
		}
		tree, err := store.Tree(context.Background(), digest)
		if err != nil {
			return err
		}
		s.images[nfs.IDOf(digest)] = tree
	}
	return nil
}

// model is how the machine of a node was started, which the minimum is like.
type model struct {
	arguments      []string // of QEMU, without those about what follows
	kernel, initrd string
	params         string // of the kernel, without those of the boot
	digest, init   string // of the image
}

// modelOf looks at the process of a machine.
func modelOf(pid int, digest, init string) (m model, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return m, err
	}
	words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	for i := 0; i < len(words); i++ {
		if i == 0 || i+1 == len(words) || !strings.HasPrefix(words[i], "-") {
			m.arguments = append(m.arguments, words[i])
			continue
		}
		switch next := words[i+1]; words[i] {
		case "-kernel":
			m.kernel = next
		case "-initrd":
			m.initrd = next
		case "-append":
			m.params, _, _ = strings.Cut(next, " walt.")
		case "-netdev", "-chardev", "-serial", "-qmp", "-pidfile", "-name":
		default:
			m.arguments = append(m.arguments, words[i])
			continue
		}
		i++
	}
	if m.kernel == "" || m.initrd == "" {
		return m, fmt.Errorf("process %d is not that of a machine with a kernel: %q", pid, words)
	}
	m.digest, m.init = digest, init
	return m, nil
}

// upLimit is how long a machine may take until it is up.
const upLimit = 5 * time.Minute

// boot boots a machine, and cuts its power when it is up. It returns how long that took.
func (s *shop) boot(m model) (time.Duration, error) {
	initrd, err := s.initramfs(m)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), upLimit)
	defer cancel()
	arguments := append(m.arguments[1:len(m.arguments):len(m.arguments)], "-netdev", "user,id=n0", "-serial", "stdio",
		"-kernel", m.kernel, "-initrd", initrd,
		"-append", fmt.Sprintf("%s rdinit=/minimum min.port=%d min.path=/%s min.init=%s", m.params, s.port, m.digest, m.init))
	c := exec.CommandContext(ctx, m.arguments[0], arguments...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := c.Start(); err != nil {
		return 0, err
	}
	defer c.Wait()
	defer c.Process.Kill()
	in := bufio.NewScanner(io.TeeReader(out, &said))
	for in.Scan() {
		if strings.Contains(in.Text(), "minimum: up") {
			return time.Since(begun), nil
		}
	}
	return 0, fmt.Errorf("a machine made by hand was not up: %s", &said)
}

// initramfs is that of the node behind one archive more, with the init in it: see Linux
// Documentation/driver-api/early-userspace/buffer-format.rst.
func (s *shop) initramfs(m model) (string, error) {
	s.mu.Lock() // several machines begin at once
	defer s.mu.Unlock()
	name := filepath.Join(s.dir, filepath.Base(m.initrd))
	if _, err := os.Stat(name); err == nil { // their names tell them apart
		return name, nil
	}
	theirs, err := os.ReadFile(m.initrd)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	put := func(name string, mode int, content []byte) {
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			b.Len()+1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.Write(content)
		b.Write(make([]byte, -b.Len()&3))
	}
	put("minimum", 0o100755, s.init)
	put("TRAILER!!!", 0, nil)
	return name, os.WriteFile(name, append(b.Bytes(), theirs...), 0o644)
}
