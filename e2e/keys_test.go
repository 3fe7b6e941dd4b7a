package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"walt/e2e/lab"
)

// One ~/.ssh/config has two labs, whose nodes are called alike: each is reached, and known by
// the authority of its own lab.
func TestTwoLabs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	config := fmt.Sprintf("Host *\n IdentityFile %s\n IdentitiesOnly yes\n IdentityAgent none\n BatchMode yes\n StrictHostKeyChecking yes\n GlobalKnownHostsFile none\n", key)
	for _, alias := range []string{"lab", "bench"} {
		l := startLab(t)
		print := func(stdin string, command ...string) string {
			t.Helper()
			out, err := l.Run(stdin, lab.Admin, command...)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		if alias == "lab" {
			pair, err := os.ReadFile(l.Key(lab.Admin))
			public, bad := os.ReadFile(l.Key(lab.Admin) + ".pub")
			if err = errors.Join(err, bad, os.WriteFile(key, pair, 0o600), os.WriteFile(key+".pub", public, 0o600)); err != nil {
				t.Fatal(err)
			}
		} else {
			public, err := os.ReadFile(key + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			print(string(public), "user", "add-key")
		}
		print(fmt.Sprintf("node create n1 --model rpi-3-b\nnode create %s-node --model rpi-3-b\nnode wait n1,%[1]s-node\n", alias))
		print("", "node", "run", "n1", "echo this is "+alias+" > /root/where")
		config += print("", "advanced", "ssh-config", "--alias", alias, "all-nodes")
		if err := os.WriteFile(filepath.Join(dir, "known_hosts."+alias), []byte(print("", "advanced", "known-hosts")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config")
	known := filepath.Join(dir, "known_hosts")
	here := strings.NewReplacer("~/.ssh", dir, "ssh-keygen -F", "ssh-keygen -f "+known+" -F")
	if err := os.WriteFile(file, []byte(here.Replace(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	ssh := func(args ...string) string {
		out, err := exec.Command("ssh", append([]string{"-F", file}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, c := range []struct{ host, command, want string }{
		{"lab", "node show --names-only", "lab-node\nn1\n"},
		{"bench", "node show --names-only", "bench-node\nn1\n"},
		{"n1", "cat /root/where", "this is lab\n"},
		{"n1.lab", "cat /root/where", "this is lab\n"},
		{"n1.bench", "cat /root/where", "this is bench\n"},
		{"lab-node", "hostname", "lab-node\n"},
		{"bench-node.bench", "hostname", "bench-node\n"},
	} {
		if got := ssh(c.host, c.command); got != c.want {
			t.Errorf("%s: %s: %q", c.host, c.command, got)
		}
	}
	// What one lab vouches for is nothing to the other.
	if got := ssh("-oProxyJump=bench", "n1"); !strings.Contains(got, "Host key verification failed") {
		t.Errorf("a node of the other lab: %s", got)
	}
	// A host that the user knows is no node, nor is one that lines above give a name with a dot.
	public, err := os.ReadFile(key + ".pub")
	if err = errors.Join(err, os.WriteFile(known, append([]byte("printer "), public...), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		node bool
	}{{[]string{"n1"}, true}, {[]string{"printer"}, false}, {[]string{"-oHostName=192.0.2.1", "desk"}, false}, {[]string{"desk.example"}, false}, {[]string{"desk"}, true}} {
		got := ssh(append(c.args, "-G")...)
		if strings.Contains(got, "\nproxyjump lab\n") != c.node || strings.Contains(got, "known_hosts.lab") != c.node {
			t.Errorf("%s: %s", c.args, got)
		}
	}
}
