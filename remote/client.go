// Package remote is the server's own way into nodes: an SSH client that runs a
// command or a shell there as root, and the list of who does so now. Whether
// somebody may is not its business; that is asked of nodes. Its one surprising
// rule: of a node whose host key is not known it believes whatever it shows.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// connectLimit is how long a node may take to accept the connection of a login.
	connectLimit = 10 * time.Second
	// loginLimit is how long it may then take to accept the login: one that has just
	// booted is busy, and more so if its processor is emulated.
	loginLimit = time.Minute
	// pingLimit is how long a node may take to accept a connection.
	pingLimit = 5 * time.Second
)

// ErrEnded is the error of a session that a node ended without saying how what
// ran there ended, as one that reboots does.
var ErrEnded = errors.New("the node ended it")

// ErrOther says that a node does not show its host key.
var ErrOther = errors.New("its SSH server does not show the host key that it has from the server: its image uses another one, or another machine answers at its address")

// ErrRefused says that a node lets the server in by no key.
var ErrRefused = errors.New("its SSH server does not let root in by the key of this lab: see PermitRootLogin, AllowUsers and AuthorizedKeysFile in the sshd_config of its image")

// Dial connects to an address of the network tcp, host:port.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Run runs s on the node whose SSH server is at addr, host:port, which lets in
// key, and returns the exit status of what ran there. It ends with ctx.
//
// host is the key that the node shows, nil when that is not known: the error is ErrOther
// when it shows another one.
func Run(ctx context.Context, d Dial, addr string, key ssh.Signer, host ssh.PublicKey, s Session) (status int, err error) {
	r := newRelay()
	client, err := dial(ctx, d, addr, key, host, r)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	s.Out, s.Err = toUser{s.Out, r}, toUser{s.Err, r}
	defer context.AfterFunc(ctx, func() { client.Close() })()
	return s.run(client)
}

// dial logs in as root.
func dial(ctx context.Context, d Dial, addr string, key ssh.Signer, host ssh.PublicKey, r *relay) (*ssh.Client, error) {
	connecting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := d(connecting, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return login(ctx, relayed{conn, r}, addr, key, host)
}

// login logs in as root over conn, which it closes when it fails.
func login(ctx context.Context, conn net.Conn, addr string, key ssh.Signer, host ssh.PublicKey) (*ssh.Client, error) {
	ctx, late := context.WithTimeoutCause(ctx, loginLimit, fmt.Errorf("it accepts no login within %v", loginLimit))
	defer late()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // also in the middle of the handshake
	config := &ssh.ClientConfig{
		User: "root",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		// The host key of many nodes comes with the image that they boot, and users make
		// those: there is nothing to compare it with.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	if host != nil {
		config.HostKeyAlgorithms = []string{host.Type()}
		config.HostKeyCallback = func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			if !bytes.Equal(shown.Marshal(), host.Marshal()) {
				return ErrOther
			}
			return nil
		}
	}
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil { // what was closed says little
			return nil, context.Cause(ctx)
		}
		var unlike *ssh.AlgorithmNegotiationError
		if host != nil && errors.As(err, &unlike) { // it has no key of that kind
			err = fmt.Errorf("%w: %w", ErrOther, err)
		}
		if strings.Contains(err.Error(), "unable to authenticate") { // the library has no other sign
			err = fmt.Errorf("%w (%w)", ErrRefused, err)
		}
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// Ping connects to addr, host:port, and returns how long that took.
func Ping(ctx context.Context, d Dial, addr string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	begun := time.Now()
	conn, err := d(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	took := time.Since(begun)
	return took, conn.Close()
}
