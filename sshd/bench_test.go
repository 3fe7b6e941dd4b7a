package sshd

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"charm.land/ssh"
	"charm.land/wish/v2"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
)

// bare is the least that wish can do: the address of a server that prints the
// same table and acknowledges quickly as well.
func bare(b *testing.B, key gossh.PublicKey) string {
	b.Helper()
	s, err := wish.NewServer(
		func(s *ssh.Server) error { s.AddHostKey(newKey(b)); return nil },
		wish.WithPublicKeyAuth(func(_ ssh.Context, k ssh.PublicKey) bool { return ssh.KeysEqual(k, key) }),
		ssh.WrapConn(func(_ ssh.Context, nc net.Conn) net.Conn {
			socket, err := nc.(*net.TCPConn).SyscallConn()
			if err != nil {
				return nil
			}
			return &eager{nc, socket}
		}),
		wish.WithMiddleware(func(ssh.Handler) ssh.Handler {
			return func(s ssh.Session) { wish.WriteString(s, table) }
		}))
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	b.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return l.Addr().String()
}

type eager struct {
	net.Conn
	socket syscall.RawConn
}

func (e *eager) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	quickAck(e.socket)
	return n, err
}

func (l *lab) config() *gossh.ClientConfig {
	return &gossh.ClientConfig{
		User: "walt", Auth: []gossh.AuthMethod{gossh.PublicKeys(l.key["alice"])}, HostKeyCallback: gossh.InsecureIgnoreHostKey(),
	}
}

func both(b *testing.B, run func(b *testing.B, l *lab, addr string)) {
	l := newLab(b)
	b.Run("walt", func(b *testing.B) { run(b, l, l.addr) })
	b.Run("bare", func(b *testing.B) { run(b, l, bare(b, l.key["alice"].PublicKey())) })
}

func output(b *testing.B, c *gossh.Client) {
	s, err := c.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if out, err := s.Output("table"); err != nil || len(out) != len(table) {
		b.Fatal(len(out), err)
	}
}

// A connection for every command; client and server in one process.
func BenchmarkCold(b *testing.B) {
	both(b, func(b *testing.B, l *lab, addr string) {
		for b.Loop() {
			c, err := gossh.Dial("tcp", addr, l.config())
			if err != nil {
				b.Fatal(err)
			}
			output(b, c)
			_ = c.Close()
		}
	})
}

// Commands on a connection that is kept.
func BenchmarkWarm(b *testing.B) {
	both(b, func(b *testing.B, l *lab, addr string) {
		c, err := gossh.Dial("tcp", addr, l.config())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for b.Loop() {
			output(b, c)
		}
	})
}

// What users see: the real client, a connection for every command. It is the
// one that delayed acknowledgements would stall.
func BenchmarkOpenSSH(b *testing.B) {
	both(b, func(b *testing.B, l *lab, addr string) {
		o := newOpenSSH(b, l)
		key := o.addKey("id_alice", auth.Login{User: "alice"})
		if addr != l.addr {
			addr = bare(b, o.public(key))
		}
		host, port, _ := net.SplitHostPort(addr)
		for b.Loop() {
			c := exec.CommandContext(context.Background(), "ssh", slices.Concat(options, []string{"-p", port, "-i", key, "walt@" + host, "table"})...)
			c.Stdin = strings.NewReader("")
			out, err := c.Output()
			if err != nil || len(out) != len(table) {
				b.Fatal(len(out), err)
			}
		}
	})
}
