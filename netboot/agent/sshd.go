//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	connections   = 256         // at the same time: as many as a user's forwards
	strangers     = 32          // of these, that have shown no key yet
	handshakeTime = time.Minute // that a client has to show a key: a busy machine is slow
	forwardLimit  = time.Minute // that a port may take to accept a connection
	// sshdQuiet is for how long the machine has nothing to do, and no SSH server of
	// the image, before ours takes its place; sshdLimit is when it does in any case.
	sshdQuiet = 30 * time.Second
	sshdLimit = 10 * time.Minute
)

// serveOrWait has SSH answer: the image's own server if it has one that starts, else
// ours. It tells the server when it does.
func (m *machine) serveOrWait(sshd bool) {
	var p quiet
	for end := time.Now().Add(sshdLimit); sshd && time.Now().Before(end) && (!p.over() || isStarting()); time.Sleep(100 * time.Millisecond) {
		if len(listening(m.address())) > 0 {
			m.up()
			return
		}
	}
	for told := false; ; time.Sleep(time.Second) {
		listener, err := m.listen()
		if err == nil {
			m.up()
			m.serve(listener)
			return
		}
		if len(listening(m.address())) > 0 { // of the image after all
			m.up()
			return
		}
		if !told {
			told = true
			m.log.logf("SSH: %v", err)
		}
	}
}

// isStarting reports whether systemd has yet to start something: that may wait for the
// network, or for a device that does not come, and the SSH server for that.
func isStarting() bool {
	if initName() != "systemd" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "systemctl", "is-system-running")
	c.Env, c.Dir = environment(), "/"
	out, _ := c.Output() // its status says the same as the word
	word := strings.TrimSpace(string(out))
	return word == "initializing" || word == "starting"
}

// portSSH is where all SSH servers of nodes listen.
const portSSH = 22

// listening returns the sockets on which somebody listens for SSH at an address, as
// /proc/net/tcp says; see Linux Documentation/networking/proc_net_tcp.rst
func listening(here netip.Addr) (sockets []string) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, l := range listeners(string(b)) {
			if l.at.Port() == portSSH && l.answers(here) {
				sockets = append(sockets, l.socket)
			}
		}
	}
	return sockets
}

// address is where the server reaches the machine; none while there is no way to it.
func (m *machine) address() netip.Addr {
	conn, err := net.Dial("udp4", m.in.Server) // which sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// listen listens for SSH, at the machine's address alone where an image's server has the
// port of another one.
func (m *machine) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(portSSH))
	if here := m.address(); errors.Is(err, unix.EADDRINUSE) && here.IsValid() {
		return net.Listen("tcp", netip.AddrPortFrom(here, portSSH).String())
	}
	return listener, err
}

// hasSSHD reports whether the root of the thread has an SSH server.
func hasSSHD() bool {
	for _, name := range []string{"sshd", "dropbear"} {
		for dir := range strings.SplitSeq(searchPath, ":") {
			if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode()&0o111 != 0 {
				return true
			}
		}
	}
	return false
}

// serve answers on the listener until it is closed.
func (m *machine) serve(listener net.Listener) {
	slots, doorstep := make(chan struct{}, connections), make(chan struct{}, strangers)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // too many open files, say
			continue
		}
		if !enter(doorstep) {
			conn.Close()
			continue
		}
		if !enter(slots) {
			<-doorstep
			conn.Close()
			continue
		}
		go func() { // ends with the connection, which the client or keep-alive ends
			defer func() { <-slots }()
			known := sync.OnceFunc(func() { <-doorstep })
			defer known()
			defer conn.Close()
			c, err := m.sshConfig()
			if err != nil {
				m.log.logf("SSH: %v", err)
				return
			}
			m.client(conn, c, known)
		}()
	}
}

// enter takes one of the places, if there is one.
func enter(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// sshConfig is who may log in now, as root, and what they are shown.
func (m *machine) sshConfig() (*ssh.ServerConfig, error) {
	access := m.access()
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-walt_agent",
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() != "root" {
				return nil, errStranger
			}
			return m.guests().let(key)
		},
	}
	signer, err := ssh.ParsePrivateKey([]byte(m.in.HostKey))
	if err != nil {
		return nil, err
	}
	config.AddHostKey(signer)
	if access.HostCertificate == "" {
		return config, nil
	}
	shown, _, _, _, err := ssh.ParseAuthorizedKey([]byte(access.HostCertificate))
	if err != nil {
		return nil, fmt.Errorf("the host certificate: %w", err)
	}
	cert, ok := shown.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("the host certificate is none")
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, err
	}
	config.AddHostKey(certified)
	return config, nil
}

// guests are those who may log in now.
func (m *machine) guests() *guests {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.let == nil || m.let.version != m.in.Version {
		m.let = newGuests(m.in.Access, m.log)
	}
	return m.let
}

// client serves one connection. known is called when it has shown a key that is let in.
func (m *machine) client(conn net.Conn, config *ssh.ServerConfig, known func()) {
	conn.SetDeadline(time.Now().Add(handshakeTime))
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	known()
	conn.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests) // ends with the connection
	_, dumb := server.Permissions.Extensions[noTerminal]
	_, alone := server.Permissions.Extensions[noForwarding]
	for c := range channels {
		switch c.ChannelType() {
		case "session":
		case "direct-tcpip":
			if alone {
				c.Reject(ssh.Prohibited, "not with this key")
				continue
			}
			go forward(c) // ends with the connection that it makes, or this one
			continue
		default:
			c.Reject(ssh.UnknownChannelType, "only sessions and ports")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			break
		}
		s := &session{m: m, channel: channel, dumb: dumb, answered: make(chan struct{})}
		go s.serve(requests) // ends when the client closes the channel
	}
	server.Close()
}

// forward connects a channel with a port that the machine reaches, as one of its own loopback:
// "ssh -L 8080:localhost:80" and "-D". See RFC 4254, section 7.2.
func forward(c ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if ssh.Unmarshal(c.ExtraData(), &to) != nil {
		c.Reject(ssh.ConnectionFailed, "the request is not in order")
		return
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(to.Host, strconv.FormatUint(uint64(to.Port), 10)), forwardLimit)
	if err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	said, gone := make(chan struct{}), make(chan struct{})
	go func() { // ends with the channel
		defer close(gone)
		ssh.DiscardRequests(requests)
	}()
	go func() { // ends when the port has said all, or is closed
		defer close(said)
		io.Copy(channel, conn)
		channel.CloseWrite()
	}()
	io.Copy(conn, channel)
	conn.(*net.TCPConn).CloseWrite()
	select {
	case <-said:
	case <-gone: // nobody hears the port any more
	}
}
