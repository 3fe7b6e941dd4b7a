//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/netboot/instructions"
)

// told is a channel that notes what the client is told.
type told struct {
	ssh.Channel
	all chan string
}

func (t told) SendRequest(name string, _ bool, _ []byte) (bool, error) {
	t.all <- name
	return true, nil
}

func (t told) Close() error {
	t.all <- "closed"
	return nil
}

// A command that ends at once ends after its client was told that it has started.
func TestEndOfACommand(t *testing.T) {
	c := told{all: make(chan string, 2)}
	s := &session{channel: c, answered: make(chan struct{})}
	go s.end(3, "") // ends with the test
	select {
	case what := <-c.all:
		t.Errorf("before it was answered, the client got %s", what)
	case <-time.After(50 * time.Millisecond):
	}
	requests := make(chan *ssh.Request)
	close(requests)
	s.serve(requests)
	for _, want := range []string{"exit-status", "closed"} {
		if what := <-c.all; what != want {
			t.Errorf("got %s, want %s", what, want)
		}
	}
}

// login logs in to the SSH server of the agent.
func login(t *testing.T, p ssh.Permissions) *ssh.Client {
	t.Helper()
	host, mine := newSigner(t), newSigner(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return &p, nil }}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() { // ends with the client
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			newMachine(&record{}).client(conn, config, func() {})
		}
	}()
	c, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(mine)}, HostKeyCallback: ssh.FixedHostKey(host.PublicKey()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

// A client reaches ports of the machine's loopback, each end of them closed by itself; a port
// on which nobody listens is refused.
func TestForward(t *testing.T) {
	t.Parallel()
	c := login(t, ssh.Permissions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	left := make(chan error, 1)
	go func() { // ends with the connections, or the listener
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all, err := io.ReadAll(conn)
			if string(all) != "silent" {
				heard <- string(all)
				_, _ = io.WriteString(conn, "answer") // the client tells
				conn.Close()
				continue
			}
			left <- err
			conn.Close()
		}
	}()
	conn, err := c.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "question"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "question" {
		t.Errorf("the port heard %q", got)
	}
	if got, err := io.ReadAll(conn); string(got) != "answer" || err != nil {
		t.Errorf("it answered %q, %v", got, err)
	}

	gone, err := c.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(gone, "silent"); err != nil {
		t.Fatal(err)
	}
	gone.Close()
	<-left
	l.Close()
	var refused *ssh.OpenChannelError
	tied := login(t, ssh.Permissions{Extensions: map[string]string{noForwarding: ""}})
	if _, err := tied.Dial("tcp", l.Addr().String()); !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
		t.Errorf("with a key that forwards nothing: %v", err)
	}
	if _, err := c.Dial("tcp", l.Addr().String()); !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed {
		t.Errorf("a port on which nobody listens: %v", err)
	}
}

// More than a few may be logged in; of those who show no key a few wait, and others are let in
// when they are gone.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	_, host, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(host, "")
	if err != nil {
		t.Fatal(err)
	}
	mine := newSigner(t)
	m := newMachine(&record{})
	m.in = &instructions.Instructions{
		HostKey: string(pem.EncodeToMemory(block)), Access: instructions.Access{Version: "1", AuthorizedKeys: []string{text(mine.PublicKey())}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go m.serve(l) // ends with the listener
	dial := func() (*ssh.Client, error) {
		return ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(mine)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	}
	for i := range strangers + 8 {
		c, err := dial()
		if err != nil {
			t.Fatalf("%d are logged in, then: %v", i, err)
		}
		defer c.Close()
		if _, _, err := c.SendRequest("known", true, nil); err != nil { // it is answered when the key is known
			t.Fatal(err)
		}
	}
	var all []net.Conn
	for range strangers {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err != nil { // it is greeted
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	if c, err := dial(); err == nil {
		c.Close()
		t.Errorf("%d who show no key leave room for another one", strangers)
	}
	all[0].Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c, err := dial()
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("when one of them is gone: %v", err)
		}
	}
}
