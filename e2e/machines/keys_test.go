package machines

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
)

// tools is the real ssh of users, with what the server prints for ~/.ssh, and strict checking
// of host keys.
type tools struct {
	*world
	dir   string // in the place of ~/.ssh
	users []string
}

// known has the clients know the host keys that the server prints now: without those of nodes
// there is the authority left, which certifies them.
func (s tools) known(nodes bool) {
	s.t.Helper()
	var all strings.Builder
	for l := range strings.Lines(s.does("alice", "advanced known-hosts")) {
		if nodes || strings.HasPrefix(l, "@") || strings.HasPrefix(l, "walt.server ") {
			all.WriteString(l)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "known_hosts.lab"), []byte(all.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// newTools has these users configure ssh as the server says.
func (w *world) newTools(users ...string) tools {
	w.t.Helper()
	s := tools{w, w.t.TempDir(), users}
	s.configure()
	return s
}

// configure has them do so again: a server that was started again is on another port.
func (s tools) configure() {
	s.t.Helper()
	printed := strings.ReplaceAll(s.does("alice", "advanced ssh-config"), "~/.ssh", s.dir)
	for _, user := range s.users {
		config := fmt.Sprintf("Host *\n IdentityFile %s\n IdentitiesOnly yes\n IdentityAgent none\n BatchMode yes\n StrictHostKeyChecking yes\n GlobalKnownHostsFile none\n", s.Key(user))
		if err := os.WriteFile(s.config(user), []byte(config+printed), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s tools) config(user string) string { return filepath.Join(s.dir, user+".config") }

// logsIn runs a command on a node with the keys of a user, by the way that alice has to it,
// and returns what it prints, and what the client tells.
func (s tools) logsIn(user, node, command string) (out, told string, err error) {
	var stdout, stderr bytes.Buffer
	c := exec.Command("ssh", "-v", "-F", s.config(user), "-o", "ProxyJump=none",
		"-o", "ProxyCommand=ssh -F "+s.config("alice")+" -W %h:%p lab", node, command)
	c.Stdout, c.Stderr = &stdout, &stderr
	err = s.Finish(c)
	return stdout.String(), stderr.String(), err
}

// tells waits until the client of a user who logs in to a node tells all these, and returns
// what the command printed then.
func (s tools) tells(user, node, command string, all ...string) string {
	s.t.Helper()
	var out, told string
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, told, _ = s.logsIn(user, node, command)
		if !slices.ContainsFunc(all, func(want string) bool { return !strings.Contains(told, want) }) {
			return out
		}
	}
	s.t.Fatalf("the client of %s, who logs in to %s, does not tell %q in time:\n%s", user, node, all, told)
	return ""
}

// What the client tells.
const (
	letIn      = "debug1: Exit status 0"
	refused    = "Permission denied (publickey"
	unknownKey = "Host key verification failed."
	openssh    = "remote software version OpenSSH"
)

// certified is that of a node's host key with a certificate.
func certified(node string) string {
	return "Host '" + node + "' is known and matches the ED25519-CERT host certificate."
}

// plainKey is that of a node's host key without one.
func plainKey(node string) string {
	return "Host '" + node + "' is known and matches the ED25519 host key."
}

// dropbear is a Debian with dropbear in place of OpenSSH, and little else.
func dropbear(t *testing.T) odd {
	return odd{name: "dropbear", layers: with(t, debianLayers(t, "dropbear-bin"), map[string]string{
		"sbin/init": "#!/bin/sh\n/usr/sbin/dropbear\nwhile :; do sleep 1000; done\n",
	})}
}

// A machine shows one host key, whatever answers there: the agent of the lab, or a dropbear,
// which has no certificates. Both let in the same users, by what changes while they are up.
func TestDropbear(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	o := dropbear(t)
	const node, agents, theirs = "vm-dropbear", "remote software version walt_agent", "remote software version dropbear"
	w.does("alice", "node create "+node+" --model pc-x86-64")
	w.up("alice", node)
	s := w.newTools("alice", "bob")
	s.known(true)
	s.tells("alice", node, "true", agents, certified(node), letIn)
	s.tells("bob", node, "true", refused)

	w.boot(o)
	w.up("alice", node)
	s.tells("alice", node, "true", theirs, plainKey(node), letIn)
	s.tells("bob", node, "true", theirs, plainKey(node), refused)
	w.does("alice", "node share "+node+" bob")
	s.tells("bob", node, "true", letIn)
	w.does("alice", "node share "+node+" none")
	s.tells("bob", node, "true", refused)

	// Without the line of its own there is nothing that it is known by.
	s.known(false)
	s.tells("alice", node, "true", theirs, unknownKey)
}
