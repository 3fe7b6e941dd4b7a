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
	"walt/consent"
	"walt/ethernet"
	"walt/images"
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

// people makes the users.
func (l *lab) people(ctx context.Context) error {
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
	return l.configure()
}

// furnish makes the nodes, waits until all of them are up, and gives some to the guest.
func (l *lab) furnish(ctx context.Context) error {
	octet := 0
	for _, kind := range fleet {
		for n := range kind.nodes {
			octet++
			if err := l.plugIn(ctx, fmt.Sprintf("%s%d", kind.prefix, n+1), octet, kind.model, nodes.Simulated); err != nil {
				return err
			}
		}
	}
	if err := l.settle(ctx, 30*time.Second); err != nil {
		return err
	}
	set, err := nodes.ParseSet("rpi-2,rpi-4,pc-2")
	if err != nil {
		return err
	}
	if _, err := l.server.Lab.Acquire(ctx, guest, set, nodes.Remarks{}, consent.Agreement{}); err != nil {
		return err
	}
	return l.settle(ctx, 30*time.Second)
}

// plugIn adds a free node, whose MAC address ends in the octet.
func (l *lab) plugIn(ctx context.Context, name string, octet int, model images.Model, host nodes.HostKind) error {
	mac, err := ethernet.ParseMAC(fmt.Sprintf("52:54:00:00:00:%02x", octet))
	if err != nil {
		return err
	}
	a := nodes.Announcement{MAC: mac, Model: model, Host: host}
	if a.Name, err = nodes.ParseName(name); err != nil {
		return err
	}
	_, err = l.server.Lab.Register(ctx, l.me.Actor(), a)
	return err
}

// settle waits until every device is a node that is up, for so long.
func (l *lab) settle(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		found, err := l.server.Lab.AllDevices(ctx)
		if err != nil {
			return err
		}
		all, err := found.Now(ctx)
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
	stdin   string // a line, or "<" and the name of a file
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

// tour runs steps through the ssh client and shows each with its output.
func (l *lab) tour(ctx context.Context, steps []step) error {
	host, port, err := net.SplitHostPort(l.server.Address)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.say != "" {
			fmt.Fprintf(l.out, "\n# %s\n", s.say)
		}
		echo, from := "", ""
		if file, is := strings.CutPrefix(s.stdin, "<"); is {
			from = " < " + file
		} else if s.stdin != "" {
			echo = "echo " + strings.TrimSpace(s.stdin) + " | "
		}
		fmt.Fprintf(l.out, "$ %sssh -p %s walt@%s %s%s\n", echo, port, host, s.command, from)
		if err := l.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// take runs a step, whose status must be what is expected of it.
func (l *lab) take(ctx context.Context, s step) error {
	ssh := exec.CommandContext(ctx, "ssh", "-F", l.config(), string(l.me), s.command)
	ssh.Stdin = strings.NewReader(s.stdin)
	if file, is := strings.CutPrefix(s.stdin, "<"); is {
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		defer in.Close()
		ssh.Stdin = in
	}
	ssh.Stdout, ssh.Stderr = l.out, l.out
	want := 0
	if s.stdin == "n\n" {
		want = statusInUse
	}
	if got := status(ssh.Run()); got != want {
		return fmt.Errorf("%s: status %d instead of %d", s.command, got, want)
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

// invite says what to try in another terminal, with a node as the example.
func (l *lab) invite(node string) {
	fmt.Fprintf(l.out, `
The lab stays until Ctrl-C. Join in from other terminals, as one user and the other:

  ssh -F %[1]s %[2]s
  ssh -F %[1]s %[3]s

and log in to a node that is free or yours, as scp and sftp do, too:

  ssh -F %[1]s %[4]s

Take each other's nodes (node acquire %[4]s), look into one (node shell %[4]s),
follow what happens (log show --realtime), press Tab, read on (help list).
`, l.config(), l.me, guest, node)
	if l.own {
		host, port, _ := net.SplitHostPort(l.server.Address)
		fmt.Fprintf(l.out, "Your own SSH key is let in too: ssh -p %s walt@%s\n", port, host)
	}
}

// config is a configuration file for ssh, in which each user is a host, and all other hosts
// are nodes, where the caller logs in.
func (l *lab) config() string { return filepath.Join(l.dir, "ssh") }

// configure writes the configuration for ssh, and the host keys that it expects.
func (l *lab) configure() error {
	host, port, err := net.SplitHostPort(l.server.Address)
	if err != nil {
		return err
	}
	known := filepath.Join(l.dir, "known_hosts")
	lines := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(l.server.HostKey))
	lines += fmt.Sprintf("@cert-authority * %s", ssh.MarshalAuthorizedKey(l.server.HostCA))
	if err := os.WriteFile(known, []byte(lines), 0o644); err != nil {
		return err
	}
	text := ""
	for _, name := range []auth.Name{l.me, guest} {
		text += fmt.Sprintf("Host %s\n  IdentityFile %s\n", name, l.key(name))
	}
	text += fmt.Sprintf("Host %s %s\n  HostName %s\n  Port %s\n  User walt\n", l.me, guest, host, port)
	text += fmt.Sprintf("Host * !%[1]s !%[2]s\n  IdentityFile %[3]s\n  User root\n  ProxyJump %[1]s\n", l.me, guest, l.key(l.me))
	text += fmt.Sprintf("Host *\n  IdentitiesOnly yes\n  BatchMode yes\n  UserKnownHostsFile %s\n", known)
	return os.WriteFile(l.config(), []byte(text), 0o644)
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
