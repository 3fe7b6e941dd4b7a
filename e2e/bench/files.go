//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"walt/e2e/lab"
)

// copied is a copy to or from the one node, whose paths begin with a colon.
type copied struct {
	what, from, to string
	image          string // from which the server takes what the other takes from the node
}

// files measures copies with scp through the server, where nodes and images are folders, beside
// the same copies by scp -J, to and from the node's own SSH server.
func (b *bench) files(l *lab.Lab) error {
	if err := l.Registry.Push(lab.Image{Models: []string{"pc-x86-64"}, Layers: 1, Bulk: 1 << 20}); err != nil {
		return err
	}
	for _, command := range []string{"create", "wait"} {
		if _, err := l.Run("", user, "node", command, "n1"); err != nil {
			return err
		}
	}
	s, err := newScp(l, filepath.Join(b.dir, "copied"))
	if err != nil {
		return err
	}
	time.Sleep(settle)
	idle, err := resident(l.Pid())
	if err != nil {
		return err
	}
	peak, err := most(l.Pid(), func() error {
		return b.copies(s,
			copied{what: "1 GiB to a node", from: s.big, to: ":/dev/null"},
			copied{what: "1 GiB from a node", from: ":/bulk-0", to: s.back},
			copied{what: "1 GiB out of an image", from: ":/bulk-0", to: s.back, image: "lab:image@pc-x86-64-default:/bulk-0"},
		)
	})
	if err != nil {
		return err
	}
	b.say("resident memory above idle meanwhile, the most", (peak-idle)/1024, 64, "MiB")
	return b.copies(s,
		copied{what: fmt.Sprintf("%d files of 1 KiB to a node", smallFiles), from: s.small, to: ":/tmp/"},
		copied{what: fmt.Sprintf("%d files of 1 KiB from a node", smallFiles), from: ":/tmp/small", to: s.back},
	)
}

// copies measures each copy both ways, in turns.
func (b *bench) copies(s scp, all ...copied) error {
	const rounds = 3
	for _, c := range all {
		var through, beside []time.Duration
		var ratios []float64
		for range rounds {
			ours, err := s.copy(cmp.Or(c.image, s.place("lab:n1", c.from)), s.place("lab:n1", c.to))
			if err != nil {
				return err
			}
			theirs, err := s.copy(s.place("n1", c.from), s.place("n1", c.to))
			if err != nil {
				return err
			}
			through, beside = append(through, ours), append(beside, theirs)
			ratios = append(ratios, float64(ours)/float64(theirs))
		}
		b.print(line{figure: "scp of " + c.what, got: median(through), unit: "ms", base: median(beside), ratio: middle(ratios), to: "scp -J", most: 1.3})
	}
	return nil
}

const smallFiles = 5000

// scp copies with the client of OpenSSH: lab is the server, n1 its node behind it.
type scp struct {
	config     string
	big, small string // a file of 1 GiB, and a directory of small ones
	back       string // what comes back
}

// newScp makes the files in a new directory.
func newScp(l *lab.Lab, dir string) (scp, error) {
	s := scp{
		config: filepath.Join(dir, "config"), big: filepath.Join(dir, "big"),
		small: filepath.Join(dir, "small"), back: filepath.Join(dir, "back"),
	}
	_, port, err := net.SplitHostPort(l.Address())
	if err == nil {
		err = os.MkdirAll(s.small, 0o755)
	}
	if err != nil {
		return s, err
	}
	config := fmt.Sprintf(`IdentityFile %s
IdentitiesOnly yes
IdentityAgent none
BatchMode yes
LogLevel ERROR
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
Host lab
  HostName 127.0.0.1
  Port %s
  User walt
Host n1
  User root
  ProxyJump lab
`, l.Key(user), port)
	err = errors.Join(os.WriteFile(s.config, []byte(config), 0o644), os.WriteFile(s.big, nil, 0o644), os.Truncate(s.big, 1<<30))
	for i := range smallFiles {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.small, fmt.Sprint(i)), make([]byte, 1<<10), 0o644))
	}
	return s, err
}

// place is a path, behind the node if it is there.
func (s scp) place(node, path string) string {
	if strings.HasPrefix(path, ":") {
		return node + path
	}
	return path
}

// copy copies a file or a directory, and returns how long that took.
func (s scp) copy(from, to string) (time.Duration, error) {
	if err := os.RemoveAll(s.back); err != nil {
		return 0, err
	}
	begun := time.Now()
	out, err := exec.Command("scp", "-q", "-r", "-F", s.config, from, to).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("scp %s %s: %w: %s", from, to, err, out)
	}
	return time.Since(begun), nil
}
