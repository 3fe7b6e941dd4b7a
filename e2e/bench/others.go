//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"syscall"
	"time"

	"charm.land/ssh"
	"charm.land/wish/v2"

	"walt/e2e/lab"
)

// other is a server that walt is compared with. It answers every command with
// the same text.
type other struct {
	address string
	login   string
	pid     int
	stop    func()
}

// ssh is the client that the lab's users have, on its way to o.
func (o *other) ssh(l *lab.Lab, options []string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(o.address)
	to := []string{"-p", port, "-l", o.login, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
	return l.SSH(user, append(to, options...), "show")
}

// startSSHD starts OpenSSH's server with a forced command.
func startSSHD(l *lab.Lab, text []byte) (*other, error) {
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in everybody's PATH
	}
	me, err := osuser.Current()
	if err != nil {
		return nil, err
	}
	if me.Uid == "0" { // the empty directory that starting it as a service makes
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &other{address: listener.Addr().String(), login: me.Username}
	_, port, _ := net.SplitHostPort(o.address)
	answer, config := filepath.Join(l.Dir, "answer"), filepath.Join(l.Dir, "sshd_config")
	err = errors.Join(listener.Close(), l.NewKey("sshd"), os.WriteFile(answer, text, 0o644),
		os.WriteFile(config, fmt.Appendf(nil, `Port %s
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s.pub
ForceCommand cat %s
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
`, port, l.Key("sshd"), l.Key(user), answer), 0o644))
	if err != nil {
		return nil, err
	}
	server := exec.Command(sshd, "-D", "-e", "-f", config)
	if err := server.Start(); err != nil {
		return nil, err
	}
	o.stop = func() {
		server.Process.Kill()
		server.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", o.address)
		if err == nil {
			return o, c.Close()
		}
		if time.Now().After(deadline) {
			o.stop()
			return nil, err
		}
	}
}

// startWish starts a bare wish server, a process of its own as the others are.
func startWish(l *lab.Lab, text []byte) (*other, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := l.NewKey("wish"); err != nil {
		return nil, err
	}
	server := exec.Command(self, "-bare-wish", l.Key("wish"))
	server.Stdin = bytes.NewReader(text)
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, err
	}
	o := &other{login: user, pid: server.Process.Pid, stop: func() {
		server.Process.Kill()
		server.Wait()
	}}
	if _, err := fmt.Fscanln(out, &o.address); err != nil {
		o.stop()
		return nil, fmt.Errorf("its address: %w", err)
	}
	return o, nil
}

// bareWish is a wish server that does nothing but accept every key and answer
// with its standard input, with quick acknowledgements. It prints its address.
func bareWish(hostKey string) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	server, err := wish.NewServer(
		wish.WithHostKeyPath(hostKey),
		wish.WithPublicKeyAuth(func(ssh.Context, ssh.PublicKey) bool { return true }),
		wish.WithMiddleware(func(ssh.Handler) ssh.Handler {
			return func(s ssh.Session) {
				s.Write(text)
				s.Exit(0)
			}
		}),
	)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return server.Serve(quick{listener})
}

// quick is a listener whose connections acknowledge at once (TCP_QUICKACK, see
// tcp(7): the kernel switches it off again by itself).
type quick struct{ net.Listener }

func (l quick) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return quickConn{c.(*net.TCPConn)}, nil
}

type quickConn struct{ *net.TCPConn }

func (c quickConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if raw, rawErr := c.SyscallConn(); rawErr == nil {
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
	}
	return n, err
}
