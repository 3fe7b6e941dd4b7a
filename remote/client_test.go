package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// answering is the way to a node with a host key, whose commands end with status 3.
func answering(t *testing.T, host ssh.Signer) Dial {
	t.Helper()
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, channels, requests, err := ssh.NewServerConn(conn, config)
			if err != nil {
				conn.Close()
				continue
			}
			go ssh.DiscardRequests(requests)
			for c := range channels {
				channel, asked, err := c.Accept()
				if err != nil {
					break
				}
				(<-asked).Reply(true, nil)
				channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{3}))
				channel.Close()
			}
		}
	}()
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

// A node whose host key is known must show it.
func TestHostKey(t *testing.T) {
	t.Parallel()
	key := func() ssh.Signer {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ssh.NewSignerFromKey(old)
	if err != nil {
		t.Fatal(err)
	}
	right, ours := key(), key()
	for what, c := range map[string]struct {
		shows ssh.Signer
		known ssh.PublicKey
		want  error
	}{
		"the right one":       {right, right.PublicKey(), nil},
		"another one":         {key(), right.PublicKey(), ErrOther},
		"one of another kind": {other, right.PublicKey(), ErrOther},
		"any, none is known":  {other, nil, nil},
	} {
		s := Session{Command: "true", In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
		status, err := Run(t.Context(), answering(t, c.shows), "node:22", ours, c.known, s)
		if !errors.Is(err, c.want) || err == nil && status != 3 {
			t.Errorf("%s: status %d, %v", what, status, err)
		}
	}
}

// A node that lets nobody in by the key says what to look for.
func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() { // ends when the client has given up
		defer close(done)
		config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errors.New("no") }}
		config.AddHostKey(newSigner(t))
		e := eager{far, make(chan []byte, 100)}
		go e.send()
		_, _, _, _ = ssh.NewServerConn(e, config)
		close(e.out)
	}()
	if _, err := login(t.Context(), near, "node:22", newSigner(t), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("the error is %v", err)
	}
	<-done
}

// eager does not wait until what it writes is read: both sides of SSH begin with writing.
type eager struct {
	net.Conn
	out chan []byte
}

func (e eager) Write(p []byte) (int, error) {
	e.out <- bytes.Clone(p)
	return len(p), nil
}

// send ends when out is closed.
func (e eager) send() {
	for p := range e.out {
		e.Conn.Write(p) // an error ends the reading, too
	}
}

// A login may take as long as a busy machine needs; one that takes longer says so.
func TestSlowLogin(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	for takes, want := range map[time.Duration]string{loginLimit / 2: "", 2 * loginLimit: "it accepts no login within 1m0s"} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			var node sync.WaitGroup
			defer node.Wait()
			node.Go(func() { // ends with the connection
				defer there.Close()
				time.Sleep(takes)
				out := eager{there, make(chan []byte, 100)}
				defer close(out.out)
				go out.send()
				if c, _, _, err := ssh.NewServerConn(out, config); err == nil {
					c.Wait()
				}
			})
			c, err := dial(t.Context(), func(context.Context, string, string) (net.Conn, error) { return here, nil }, "", key, nil, newRelay())
			if err == nil {
				c.Close()
			}
			if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
				t.Errorf("after %v: %v, want %q", takes, err, want)
			}
		})
	}
}
