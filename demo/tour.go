package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/nodes"
)

// lab is the running demo.
type lab struct {
	dir    string
	server Server
	out    io.Writer
	me     auth.Name
	own    bool // the caller has a key of their own
}

// furnish makes the users and the nodes, waits until all nodes are up, and gives
// some to the guest.
func (l *lab) furnish(ctx context.Context) error {
	l.me = caller()
	mine, err := l.makeKey(l.me)
	if err != nil {
		return err
	}
	theirs, err := l.makeKey(guest)
	if err != nil {
		return err
	}
	if err := l.server.AddUser(ctx, l.me, mine); err != nil {
		return err
	}
	for _, key := range callersKeys() { // one that the server refuses is not needed
		l.own = l.server.AddUser(ctx, l.me, key) == nil || l.own
	}
	if err := l.server.AddUser(ctx, guest, theirs); err != nil {
		return err
	}
	if err := l.knownHosts(); err != nil {
		return err
	}
	octet := 0
	for _, kind := range fleet {
		for n := range kind.nodes {
			octet++
			mac, err := nodes.ParseMAC(fmt.Sprintf("52:54:00:00:00:%02x", octet))
			if err != nil {
				return err
			}
			name, err := nodes.ParseName(fmt.Sprintf("%s%d", kind.prefix, n+1))
			if err != nil {
				return err
			}
			a := nodes.Announcement{Name: name, MAC: mac, Model: kind.model, Virtual: true}
			if _, err := l.server.Lab.Register(ctx, string(l.me), a); err != nil {
				return err
			}
		}
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	set, err := nodes.ParseSet("rpi-2,rpi-4,pc-2")
	if err != nil {
		return err
	}
	if _, err := l.server.Lab.Acquire(ctx, guest, set, nodes.Consent{}); err != nil {
		return err
	}
	return l.settle(ctx)
}

// settle waits until every device is a node that is up.
func (l *lab) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		all, err := l.server.Lab.AllDevices(ctx)
		if err != nil {
			return err
		}
		up := 0
		for _, d := range all {
			if d.Kind == nodes.Node && d.State == nodes.Up {
				up++
			}
		}
		if up == len(all) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d nodes came up: %w", up, len(all), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// step is one command of the tour.
type step struct {
	say     string
	command string
	stdin   string
}

var steps = []step{
	{"Everything in the lab, and whose it is:", "node show --all", ""},
	{"A free node is yours at once. It reboots on your clone of its default image:", "node acquire rpi-3", ""},
	{"Wait until it is up, and run something on it:", "node wait rpi-3", ""},
	{"", "node run rpi-3 'hostname; cat /etc/motd'", ""},
	{"A node of somebody else is asked about first. Here the answer is no:", "node acquire rpi-4", "n\n"},
	{"And here it is yes:", "node acquire rpi-4", "y\n"},
	{"Your nodes, and your images: one image serves two models:", "node show", ""},
	{"", "image show", ""},
	{"Give them back; what you release is free for all:", "node release my-nodes", ""},
	{"What happened:", "log show --history 1m --issuers rpi-4", ""},
}

// statusInUse is the exit status of a command that was not confirmed.
const statusInUse = 3

// tour runs the steps through the ssh client and shows each with its output.
func (l *lab) tour(ctx context.Context) error {
	if _, err := exec.LookPath("ssh"); err != nil {
		return fmt.Errorf("the tour goes through the ssh client of OpenSSH, which is not here: %w", err)
	}
	host, port, err := net.SplitHostPort(l.server.Address)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.say != "" {
			fmt.Fprintf(l.out, "\n# %s\n", s.say)
		}
		echo := ""
		if s.stdin != "" {
			echo = "echo " + strings.TrimSpace(s.stdin) + " | "
		}
		fmt.Fprintf(l.out, "$ %sssh -p %s walt@%s %s\n", echo, port, host, s.command)
		ssh := exec.CommandContext(ctx, "ssh", "-F", "/dev/null", "-i", l.key(l.me), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "UserKnownHostsFile="+filepath.Join(l.dir, "known_hosts"), "-p", port, "walt@"+host, s.command)
		ssh.Stdin = strings.NewReader(s.stdin)
		ssh.Stdout, ssh.Stderr = l.out, l.out
		err := ssh.Run()
		want := 0
		if s.stdin == "n\n" {
			want = statusInUse
		}
		if got := status(err); got != want {
			return fmt.Errorf("%s: status %d instead of %d: %w", s.command, got, want, err)
		}
	}
	return nil
}

// status is the exit status of a command that ended with err.
func status(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// invite says what to try in another terminal.
func (l *lab) invite() {
	host, port, _ := net.SplitHostPort(l.server.Address)
	ssh := fmt.Sprintf("ssh -o UserKnownHostsFile=%s -p %s", filepath.Join(l.dir, "known_hosts"), port)
	mine := ssh
	if !l.own {
		mine += " -i " + l.key(l.me)
	}
	fmt.Fprintf(l.out, `
The lab stays until Ctrl-C. Join in from another terminal:

  %s walt@%s                  a shell, as %s
  %s -i %s walt@%s   the same, as %s

Take each other's nodes (node acquire rpi-1), look into one (node shell rpi-1),
follow what happens (log show --realtime), press Tab, read on (help list).
`, mine, host, l.me, ssh, l.key(guest), host, guest)
}

func (l *lab) key(name auth.Name) string { return filepath.Join(l.dir, string(name)) }

// makeKey writes a private key for the user and returns its public line.
func (l *lab) makeKey(name auth.Name) (string, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(l.key(name), pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " demo\n", nil
}

// knownHosts writes the file that tells ssh the server's host key.
func (l *lab) knownHosts() error {
	host, port, err := net.SplitHostPort(l.server.Address)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(l.server.HostKey))
	return os.WriteFile(filepath.Join(l.dir, "known_hosts"), []byte(line), 0o644)
}

// caller is the name of who runs the demo, as far as it is a valid one.
func caller() auth.Name {
	if u, err := user.Current(); err == nil {
		if name, err := auth.ParseName(strings.ToLower(u.Username)); err == nil && name != guest {
			return name
		}
	}
	return "alice"
}

// callersKeys returns the caller's own public keys, a line each.
func callersKeys() (lines []string) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	for _, name := range []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} {
		if b, err := os.ReadFile(filepath.Join(home, ".ssh", name)); err == nil {
			lines = append(lines, strings.TrimSpace(string(b))+"\n")
		}
	}
	return lines
}
