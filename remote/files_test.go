package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sftpNode is a node on which begins is answered by a word, by one of the ways that there are.
type sftpNode struct {
	logins    atomic.Int32
	coming    atomic.Int32              // that are not logged in
	crowded   atomic.Bool               // there were several of these at once
	subsystem func(ch ssh.Channel) bool // false: it is refused
}

func (n *sftpNode) dial(t *testing.T) func(context.Context) (net.Conn, error) {
	key := newSigner(t)
	config := &ssh.ServerConfig{NoClientAuth: true, NoClientAuthCallback: func(ssh.ConnMetadata) (*ssh.Permissions, error) {
		n.coming.Add(-1) // before the client knows
		return nil, nil
	}}
	config.AddHostKey(key)
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
			go n.serve(conn, config)
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func (n *sftpNode) serve(conn net.Conn, config *ssh.ServerConfig) {
	if n.coming.Add(1) > 1 {
		n.crowded.Store(true)
	}
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	n.logins.Add(1)
	go ssh.DiscardRequests(requests)
	for open := range channels {
		ch, requests, err := open.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				var what struct{ What string }
				_ = ssh.Unmarshal(r.Payload, &what)
				if r.Type == "exec" {
					c := exec.Command("sh", "-c", what.What)
					c.Stdin, c.Stdout = ch, ch
					_ = r.Reply(true, nil)
					_ = c.Run()
					_ = ch.Close()
					continue
				}
				if n.subsystem == nil {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				go n.subsystem(ch)
			}
			_ = ch.Close()
		}()
	}
}

// answer answers what begins a conversation.
func answer(ch ssh.Channel) bool {
	if _, err := io.ReadFull(ch, make([]byte, 5)); err == nil {
		_, _ = io.WriteString(ch, "hello")
	}
	return true
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Conversations share connections, some each, and the last one ends its connection.
func TestFilesShare(t *testing.T) {
	t.Parallel()
	var f Files
	n := &sftpNode{subsystem: answer}
	dial := n.dial(t)
	var all []io.ReadWriteCloser
	for range 2*channelsEach + 1 {
		c, err := f.Open(t.Context(), "rpi-3", dial, newSigner(t), nil, []byte("begin"))
		if err != nil {
			t.Fatal(err)
		}
		word := make([]byte, 5)
		if _, err := io.ReadFull(c, word); err != nil || string(word) != "hello" {
			t.Fatalf("%q, %v", word, err)
		}
		all = append(all, c)
	}
	if n := n.logins.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
	for _, c := range all {
		c.Close()
		c.Close()
	}
	if len(f.lines) != 0 {
		t.Errorf("%d nodes are connected", len(f.lines))
	}
}

// Many conversations that begin at once make one connection after the other, and no more than
// they need; one that is given up meanwhile leaves the others to it.
func TestFilesAtOnce(t *testing.T) {
	t.Parallel()
	const many = 100
	var f Files
	n := &sftpNode{subsystem: answer}
	dial := n.dial(t)
	gone, goes := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	dialed := make(chan struct{})
	go func() {
		_, err := f.Open(gone, "rpi-3", func(ctx context.Context) (net.Conn, error) {
			close(dialed)
			<-ctx.Done()
			return nil, ctx.Err()
		}, newSigner(t), nil, []byte("begin"))
		waits <- err
	}()
	<-dialed
	opened := make(chan error, many)
	for range many {
		go func() {
			_, err := f.Open(t.Context(), "rpi-3", dial, newSigner(t), nil, []byte("begin"))
			opened <- err
		}()
	}
	goes()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range many {
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
	if got, want := n.logins.Load(), int32((many+channelsEach-1)/channelsEach); got != want || n.crowded.Load() {
		t.Errorf("%d connections, want %d; some at once: %v", got, want, n.crowded.Load())
	}
}

// Who waits for a connection that fails is told why.
func TestFilesOfNobody(t *testing.T) {
	t.Parallel()
	var f Files
	why := errors.New("it is down")
	for range 2 {
		_, err := f.Open(t.Context(), "rpi-3", func(context.Context) (net.Conn, error) { return nil, why }, newSigner(t), nil, []byte("begin"))
		if !errors.Is(err, why) {
			t.Error(err)
		}
	}
	if len(f.lines)+len(f.dialing) > 0 {
		t.Error("something is left")
	}
}

// A conversation ends with its context, for the reason of that, also of a node that says nothing
// any more; the others of its connection that answer go on.
func TestFilesEnd(t *testing.T) {
	t.Parallel()
	var f Files
	dial := (&sftpNode{subsystem: answer}).dial(t)
	why := errors.New("it changed hands")
	ctx, cancel := context.WithCancelCause(t.Context())
	one, err := f.Open(ctx, "rpi-3", dial, newSigner(t), nil, []byte("begin"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.Open(t.Context(), "rpi-3", dial, newSigner(t), nil, []byte("begin"))
	if err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if _, err := io.ReadAll(one); !errors.Is(err, why) {
		t.Error(err)
	}
	one.Close()
	if _, err := io.ReadFull(other, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	other.Close()
}

// Where the SSH server has no SFTP server, or one that ends at once, the agent serves.
func TestFilesOfAgent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	agent := exec.Command(os.Args[0])
	agent.Args = []string{agentName}
	in, err := agent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer agent.Wait()
	defer in.Close()
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	for name, n := range map[string]*sftpNode{"refused": {}, "not there": {subsystem: func(ch ssh.Channel) bool { return ch.Close() == nil }}} {
		c, err := new(Files).Open(t.Context(), "rpi-3", n.dial(t), newSigner(t), nil, []byte("begin"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		word := make([]byte, 5)
		if _, err := io.ReadFull(c, word); err != nil || string(word) != "hello" {
			t.Errorf("%s: %q, %v", name, word, err)
		}
		c.Close()
	}
}

const agentName = "@walt-agent"

// TestMain runs this program in place of the agent, too, and of the SFTP server that that is.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == agentName:
		os.Stdout.WriteString("r")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case len(os.Args) == 2 && os.Args[1] == "sftp":
		if _, err := io.ReadFull(os.Stdin, make([]byte, 5)); err == nil {
			os.Stdout.WriteString("hello")
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
	default:
		os.Exit(m.Run())
	}
}
