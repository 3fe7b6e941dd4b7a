//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"walt/e2e/lab"
)

// patience is how long a guest may take to start: it is emulated.
const patience = 2 * time.Minute

// guest is one machine with the power on.
type guest struct {
	qemu    *exec.Cmd
	socket  net.Listener  // of its disk
	address string        // where the port of its ssh is reached
	started chan struct{} // closed when its kernel runs
	ready   chan string   // receives the fingerprint of the server's host key, once it accepts logins
	ended   chan struct{}

	mu   sync.Mutex
	said []string // the last lines of its console
}

var fingerprint = regexp.MustCompile(`accepting logins on .*(SHA256:[A-Za-z0-9+/]+)`)

// powerOn starts a machine with the kernel in boot on the disk.
func powerOn(dir, boot string, d *disk) (*guest, error) {
	d.on()
	path := filepath.Join(dir, "disk.sock")
	os.Remove(path)
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	g := &guest{socket: socket, address: address, started: make(chan struct{}), ready: make(chan string, 1), ended: make(chan struct{})}
	g.qemu = exec.Command("qemu-system-x86_64",
		"-accel", "tcg", "-machine", "q35,graphics=off", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(boot, "vmlinuz"), "-initrd", filepath.Join(boot, "initrd"),
		"-append", "console=ttyS0 quiet mitigations=off nokaslr no_timer_check panic=-1",
		"-serial", "stdio",
		"-drive", "if=virtio,format=raw,cache=writeback,file=nbd:unix:"+path,
		"-netdev", "user,id=n0,restrict=on,hostfwd=tcp:"+address+"-:22", "-device", "virtio-net-pci,netdev=n0,romfile=")
	g.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := g.qemu.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	g.qemu.Stderr = g.qemu.Stdout
	if err := g.qemu.Start(); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	go func() { // ends with the socket
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			if err := d.serve(c); err != nil {
				g.note("disk: " + err.Error())
			}
		}
	}()
	go g.listen(out) // ends with QEMU
	return g, nil
}

// listen reads the console until the machine is off.
func (g *guest) listen(console io.Reader) {
	for lines := bufio.NewScanner(console); lines.Scan(); {
		g.note(lines.Text())
		if strings.Contains(lines.Text(), "guest: started") {
			close(g.started)
		}
		if found := fingerprint.FindStringSubmatch(lines.Text()); found != nil {
			g.ready <- found[1]
		}
	}
	g.qemu.Wait()
	close(g.ended)
}

func (g *guest) note(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, strings.TrimRight(line, "\r"))
	g.said = g.said[max(0, len(g.said)-60):]
}

// console is the last of what stood on the guest's console.
func (g *guest) console() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.said, "\n")
}

// errHangs says that the kernel of a guest does not start, which happens to QEMU on a
// machine with much else to do. No server runs then.
var errHangs = errors.New("the kernel of the machine does not start")

// up returns when the server of the guest accepts logins, with the host key that
// it always had.
func (g *guest) up(l *lab.Lab) error {
	select {
	case <-g.started:
	case <-g.ended:
	case <-time.After(patience):
		return errHangs
	}
	select {
	case key := <-g.ready:
		if err := l.Meet(g.address, key); err != nil {
			return fmt.Errorf("%w; its console:\n%s", err, g.console())
		}
		return nil
	case <-g.ended:
		return fmt.Errorf("the server did not start; its console:\n%s", g.console())
	case <-time.After(patience):
		return fmt.Errorf("the server did not start within %v; its console:\n%s", patience, g.console())
	}
}

// cut cuts the power of the machine and of its disk.
func (g *guest) cut(d *disk) error {
	err := d.cut() // first: what the guest answers from now on was on the disk before
	g.qemu.Process.Kill()
	<-g.ended
	return errors.Join(err, g.socket.Close())
}

// freeAddress is one of loopback that nobody listens at.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
