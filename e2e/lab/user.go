package lab

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// Key is the private key file of a user; the public one is beside it, ".pub".
func (l *Lab) Key(user string) string { return l.path(user + ".key") }

// NewKey makes an Ed25519 key pair for a user who may be unknown to the server.
func (l *Lab) NewKey(user string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, user)
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + user + "@e2e\n"
	if err := os.WriteFile(l.Key(user)+".pub", []byte(line), 0o644); err != nil {
		return err
	}
	return os.WriteFile(l.Key(user), pem.EncodeToMemory(block), 0o600)
}

// Add makes a key for each user and lets Admin add the user. The options, as
// in an authorized_keys line, apply to each key.
func (l *Lab) Add(options string, users ...string) error {
	for _, user := range users {
		if err := l.NewKey(user); err != nil {
			return err
		}
		line, err := os.ReadFile(l.Key(user) + ".pub")
		if err != nil {
			return err
		}
		if options != "" {
			line = append([]byte(options+" "), line...)
		}
		if _, err := l.Run(string(line), Admin, "user", "add", user); err != nil {
			return err
		}
	}
	return nil
}

// Run runs one command line as a user through ssh, with the standard input,
// and returns its standard output. An error tells all that was answered.
func (l *Lab) Run(stdin, user string, command ...string) (string, error) {
	client := l.SSH(user, nil, command...)
	client.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	client.Stdout, client.Stderr = &out, &errs
	if err := l.Finish(client); err != nil {
		return "", fmt.Errorf("%s: %s: %w\n%s%s", user, strings.Join(command, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}

// hang is how long a command may take that does not wait for a person.
const hang = 2 * time.Minute

// Finish runs a client to its end. One that hangs is killed, and the server too:
// its log shows then what it was doing.
func (l *Lab) Finish(client *exec.Cmd) error {
	if err := client.Start(); err != nil {
		return err
	}
	defer time.AfterFunc(hang, func() {
		l.Signal(syscall.SIGQUIT)
		client.Process.Kill()
	}).Stop()
	return client.Wait()
}

// SSH is the OpenSSH client of a user, about to run a command on the server,
// with further options of the client. "-l NAME" among them is another login
// name than walt.
func (l *Lab) SSH(user string, options []string, command ...string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(l.Address())
	args := append([]string{"-F", "none"}, options...) // ssh takes the first word on anything
	args = append(args, "-p", port, "-i", l.Key(user))
	for _, o := range []string{
		"User=walt", "IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "LogLevel=ERROR", "EscapeChar=none",
		"HostKeyAlias=walt", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + l.path("known_hosts"), "GlobalKnownHostsFile=none",
	} {
		args = append(args, "-o", o)
	}
	args = append(args, "127.0.0.1")
	return exec.Command("ssh", append(args, command...)...)
}

// Dial logs a user in with a client in this process, for what one ssh process
// a command would be too slow to show.
func (l *Lab) Dial(user string) (*ssh.Client, error) {
	pem, err := os.ReadFile(l.Key(user))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, err
	}
	return dial(l.Address(), &ssh.ClientConfig{
		User: "walt", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // Start has seen to it
	})
}

// dial logs in within patience; the limit of the library's own ends with the TCP
// connection.
func dial(address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}
