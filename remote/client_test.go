package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

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
