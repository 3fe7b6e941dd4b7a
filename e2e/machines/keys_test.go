package machines

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// newKey makes a key for somebody whom the server does not know, and returns the public one.
func (w *world) newKey(user string) string {
	w.t.Helper()
	err := w.NewKey(user)
	public, bad := os.ReadFile(w.Key(user) + ".pub")
	if err = errors.Join(err, bad); err != nil {
		w.t.Fatal(err)
	}
	return string(public)
}

// userCA makes a key that certifies users, and has the server accept what it signs.
func (w *world) userCA() {
	w.t.Helper()
	w.newKey("ca")
	config, err := os.ReadFile(w.Config)
	if err = errors.Join(err, os.WriteFile(w.Config, fmt.Appendf(config, "\n[ssh]\nuser_ca = %q\n", w.Key("ca")+".pub"), 0o644), w.Signal(syscall.SIGHUP)); err != nil {
		w.t.Fatal(err)
	}
}

// certify has the client of somebody show a certificate, with these options of ssh-keygen.
func (w *world) certify(user string, options ...string) {
	w.t.Helper()
	c := exec.Command("ssh-keygen", append(append([]string{"-q", "-s", w.Key("ca"), "-I", "test"}, options...), w.Key(user)+".pub")...)
	if out, err := c.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
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

// A Debian's own SSH server shows the certificate of the node's host key, also another one
// that the lab signs while it is up, and lets in who may beside whom the image knows.
func TestOpenSSH(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	guest := w.newKey("guest") // who is no user
	const node = "vm-openssh"
	w.start(odd{name: "openssh", layers: with(t, debianLayers(t, "systemd-sysv", "openssh-server", "kmod"), map[string]string{
		units + "serial-getty@ttyS0.service": masked, // without udev it would be waited for
		"root/.ssh/authorized_keys":          guest,
	})}, patient...)
	w.up("alice", node)
	forced, tied := w.newKey("forced"), w.newKey("tied")
	w.newKey("laptop")
	s := w.newTools("alice", "bob", "guest", "forced", "tied", "laptop")
	s.known(false)
	if keys := s.tells("alice", node, "cat /root/.ssh/authorized_keys", openssh, certified(node), letIn); !strings.HasPrefix(keys, guest) {
		t.Errorf("the keys are %s", keys)
	}
	s.tells("guest", node, "true", certified(node), letIn)
	s.tells("bob", node, "true", certified(node), refused)
	w.does("alice", "node share "+node+" bob")
	s.tells("bob", node, "true", letIn)
	w.does("alice", "node share "+node+" none")
	s.tells("bob", node, "true", refused)
	s.tells("guest", node, "true", letIn)

	// A key for one command is none there, where one may come from does not count, and a
	// certificate is what its user is.
	if _, err := w.Run("command=\"node show\" "+forced+"from=\"127.0.0.0/8\" "+tied, "alice", "user", "add-key"); err != nil {
		t.Fatal(err)
	}
	s.tells("tied", node, "true", letIn)
	s.tells("forced", node, "true", refused)
	w.userCA()
	s.tells("laptop", node, "true", refused)
	w.certify("laptop", "-n", "alice")
	s.tells("laptop", node, "true", letIn)
	w.certify("laptop", "-n", "bob,root")
	s.tells("laptop", node, "true", refused)
	w.certify("laptop", "-n", "alice", "-O", "source-address=127.0.0.0/8")
	s.tells("laptop", node, "true", refused)

	const server = "systemctl is-active ssh; systemctl show -p MainPID ssh"
	before := w.does("alice", "node run "+node+" "+server)
	if err := errors.Join(w.Stop(), os.Remove(filepath.Join(w.Data(), "keys/host_ca_ed25519_key")), w.Start()); err != nil {
		t.Fatal(err)
	}
	w.up("alice", node)
	s.configure()
	s.tells("alice", node, "true", unknownKey)
	s.known(false)
	s.tells("alice", node, "true", openssh, certified(node), letIn)
	if after := w.does("alice", "node run "+node+" "+server); after != before || !strings.HasPrefix(after, "active\n") {
		t.Errorf("its SSH server was %s, and is %s", before, after)
	}
}

// A machine whose image is odd lets in who may as any other: root's home is a link to where
// nothing is, its password is locked, its SSH server starts late and another one listens on
// loopback. So it does when it is called otherwise, when its disk was full, and when its agent
// did nothing for a while; what is open to it ends when it reboots by itself.
func TestOddMachine(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	o := odd{name: "odd", layers: with(t, debianLayers(t, "dropbear-bin"), map[string]string{
		"root":       "-> var/roothome",
		"etc/shadow": "root:!:19000:0:99999:7:::\n",
		"sbin/init":  "#!/bin/sh\n/usr/sbin/dropbear -p 127.0.0.1:22\nsleep 20\nkill $(cat /run/dropbear.pid)\n/usr/sbin/dropbear -P /run/late.pid\nwhile :; do sleep 1000; done\n",
	})}
	const node, theirs = "vm-odd", "remote software version dropbear"
	w.does("alice", "node create first --model pc-x86-64")
	w.up("alice", "first")
	s := w.newTools("alice", "bob")
	s.known(false)
	s.tells("alice", "first", "true", certified("first"), letIn)
	w.does("alice", "node rename first "+node)
	s.tells("alice", node, "true", certified(node), letIn)
	s.appends("alice", node)

	w.boot(o)
	w.up("alice", node)
	s.known(true)
	out := s.tells("alice", node, "cd ~ && pwd -P; cut -d: -f1,2 /etc/shadow", theirs, plainKey(node), letIn)
	if out != "/var/roothome\nroot:*\n" {
		t.Errorf("it is %q", out)
	}

	// Nobody can be let in or out while its disk is full.
	w.does("alice", "node run "+node+" dd if=/dev/zero of=/fill bs=1M 2>/dev/null; df / >&2; true")
	w.does("alice", "node share "+node+" bob")
	w.until("alice", "node run "+node+" dmesg", "who may log in: ")
	s.tells("bob", node, "true", refused)
	w.does("alice", "node run "+node+" rm /fill")
	s.tells("bob", node, "true", letIn)

	// Nor while its agent does nothing; then it learns what it missed.
	const agent = "for p in /proc/[0-9]*; do grep -qs ^walt-agent $p/comm && kill -%s ${p#/proc/}; done; true"
	w.does("alice", "node run "+node+" "+fmt.Sprintf(agent, "STOP"))
	w.does("alice", "node share "+node+" none")
	s.tells("bob", node, "true", letIn)
	w.does("alice", "node run "+node+" "+fmt.Sprintf(agent, "CONT"))
	s.tells("bob", node, "true", refused)
	w.does("alice", "node rename "+node+" last")
	s.known(true)
	s.tells("alice", "last", "true", plainKey("last"), letIn)

	// What is open ends when it reboots by itself.
	w.does("alice", "node run last truncate -s 100G /root/large")
	forward, copied := exec.Command("ssh", "-F", s.config("alice"), "-W", "last:22", "lab"), filepath.Join(s.dir, "copied")
	copying := exec.Command("scp", "-F", s.config("alice"), "-l", "8000", "lab:last:/root/large", copied)
	banner, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for _, c := range []*exec.Cmd{forward, copying} {
		in, err := c.StdinPipe() // stays open
		if err = errors.Join(err, c.Start()); err != nil {
			t.Fatal(err)
		}
		defer in.Close()
	}
	if _, err := banner.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(boottest.Wait); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(copied); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing is copied")
		}
	}
	for _, c := range []*exec.Cmd{forward, copying} {
		go func() { ended <- c.Wait() }() // ends with the program
	}
	before := w.bootID("alice", "last")
	_, _ = w.Run("", "alice", "node", "run", "last", "echo b > /proc/sysrq-trigger") // the connection may end first
	w.until("alice", "log show --type state", "last: up -> booting")
	for range cap(ended) {
		select {
		case err := <-ended:
			t.Logf("what was open ended with: %v", err) // a forward ends as its node ended it
		case <-time.After(boottest.Wait):
			t.Error("what was open goes on")
		}
	}
	w.up("alice", "last")
	if after := w.bootID("alice", "last"); after == before {
		t.Error("it did not reboot")
	}
	s.tells("alice", "last", "true", plainKey("last"), letIn)
}

// appends adds to a file of a node with the clients that have a word for that.
func (s tools) appends(user, node string) {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, text := range map[string]string{"part": "one\n", "whole": "one\ntwo\n", "batch": "put part /root/log\nreput whole /root/log\nput -f part /root/synced\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	c := exec.Command("sftp", "-F", s.config(user), "-b", "batch", node)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Errorf("sftp: %v: %s", err, out)
	}
	if out := s.tells(user, node, "cat /root/log /root/synced", letIn); out != "one\ntwo\none\n" {
		s.t.Errorf("the files have %q", out)
	}
}
